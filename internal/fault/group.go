package fault

import "net/http"

// SecurityGroupNotFound is the 404 of a security group.
func SecurityGroupNotFound(id string) *Fault {
	return New("SecurityGroupNotFound", http.StatusNotFound, "Security group %s does not exist", id)
}

// SecurityGroupRuleNotFound is the 404 of a rule.
func SecurityGroupRuleNotFound(id string) *Fault {
	return New("SecurityGroupRuleNotFound", http.StatusNotFound, "Security group rule %s does not exist", id)
}

// SecurityGroupInUse is the 409 for a group that ports use.
func SecurityGroupInUse(id string) *Fault {
	return New("SecurityGroupInUse", http.StatusConflict, "Security Group %s in use.", id)
}

// SecurityGroupCannotRemoveDefault is the 409 for a project deleting its default group.
func SecurityGroupCannotRemoveDefault() *Fault {
	return New("SecurityGroupCannotRemoveDefault", http.StatusConflict, "Insufficient rights for removing default security group.")
}

// SecurityGroupCannotUpdateDefault is the 409 for renaming a default group.
func SecurityGroupCannotUpdateDefault() *Fault {
	return New("SecurityGroupCannotUpdateDefault", http.StatusConflict, "Updating default security group not allowed.")
}

// SecurityGroupDefaultExists is the 409 for a second group named default.
func SecurityGroupDefaultExists() *Fault {
	return New("SecurityGroupDefaultAlreadyExists", http.StatusConflict, "Default security group already exists.")
}

// SecurityGroupRuleExists is the 409 for a rule that is already there, with its id.
func SecurityGroupRuleExists(id string) *Fault {
	return New("SecurityGroupRuleExists", http.StatusConflict, "Security group rule already exists. Rule id is %s.", id)
}

// DuplicateRuleInPost is the 409 for the same rule twice in one request.
func DuplicateRuleInPost() *Fault {
	return New("DuplicateSecurityGroupRuleInPost", http.StatusConflict, "Duplicate Security Group Rule in POST.")
}

// RulesNotSingleGroup is the 400 for a bulk request that names several groups.
func RulesNotSingleGroup() *Fault {
	return New("SecurityGroupNotSingleGroupRules", http.StatusBadRequest, "Only allowed to update rules for one security profile at a time")
}

// RulesNotSingleProject is the 400 for a bulk request that names several projects.
func RulesNotSingleProject() *Fault {
	return New("SecurityGroupRulesNotSingleTenant", http.StatusBadRequest, "Multiple tenant_ids in bulk security group rule create not allowed")
}

// RuleBad is a 400 of a rule: one of Neutron's SecurityGroup* exceptions by name.
func RuleBad(typ, format string, args ...any) *Fault {
	return New(typ, http.StatusBadRequest, format, args...)
}

// AddressGroupNotFound is the 404 of an address group.
func AddressGroupNotFound(id string) *Fault {
	return New("AddressGroupNotFound", http.StatusNotFound, "Address group %s could not be found.", id)
}

// AddressGroupInUse is the 409 for an address group that rules name.
func AddressGroupInUse(id string) *Fault {
	return New("AddressGroupInUse", http.StatusConflict, "Address group %s is in use on one or more security group rules.", id)
}

// AddressesExist is the 400 for adding what is already in an address group.
func AddressesExist(addresses, id string) *Fault {
	return New("AddressesAlreadyExist", http.StatusBadRequest, "Addresses %s already exist in the address group %s.", addresses, id)
}

// AddressesNotFound is the 404 for removing what is not in an address group.
func AddressesNotFound(addresses, id string) *Fault {
	return New("AddressesNotFound", http.StatusNotFound, "Addresses %s not found in the address group %s.", addresses, id)
}

// SecurityGroupConflict is the 409 for groups that cannot go together.
func SecurityGroupConflict(reason string) *Fault {
	return New("SecurityGroupConflict", http.StatusConflict, "Error %s while attempting the operation.", reason)
}
