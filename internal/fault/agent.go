package fault

import "net/http"

// AgentNotFound is the 404 of an agent.
func AgentNotFound(id string) *Fault {
	return New("AgentNotFound", http.StatusNotFound, "Agent %s could not be found.", id)
}
