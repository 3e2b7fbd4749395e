// Package fault is the Networking API's errors: Neutron's exception types with their
// HTTP status and message texts, as clients match them (Nova and neutronclient look
// at the type, Terraform at the status and type).
//
// It is pure. A Fault is returned as an ordinary error by any layer that finds the
// request at fault; the API layer prints it as {"NeutronError": {...}}.
package fault
