package fault

import (
	"net/http"
	"strings"
)

// OverQuota is the 409 for a create that would pass a project's limit; resources are the
// quota names that are exceeded, sorted.
func OverQuota(resources []string) *Fault {
	return New("OverQuota", http.StatusConflict, "Quota exceeded for resources: ['%s'].", strings.Join(resources, "', '"))
}

// QuotaResourceUnknown is the 404 for a quota of something that has none.
func QuotaResourceUnknown(resources []string) *Fault {
	return New("QuotaResourceUnknown", http.StatusNotFound, "Unknown quota resources ['%s'].", strings.Join(resources, "', '"))
}

// ProjectQuotaNotFound is the 404 for deleting a quota that was never set.
func ProjectQuotaNotFound(project string) *Fault {
	return New("TenantQuotaNotFound", http.StatusNotFound, "Quota for tenant %s could not be found.", project)
}

// QuotaBelowUse is the 400 for a limit below what is in use, when the check was asked for.
func QuotaBelowUse(resource string, limit, used int) *Fault {
	return HTTPBadRequest("Quota limit %d for %s must be greater than or equal to already used %d", limit, resource, used)
}
