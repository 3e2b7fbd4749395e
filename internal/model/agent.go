package model

import "time"

// Agent types and binaries, as Neutron names them.
const (
	AgentNICSwitch   = "NIC Switch agent"
	AgentOpenVSwitch = "Open vSwitch agent"
	AgentDHCP        = "DHCP agent"

	BinaryNICSwitch   = "neutron-sriov-nic-agent"
	BinaryOpenVSwitch = "neutron-openvswitch-agent"
	BinaryDHCP        = "neutron-dhcp-agent"
)

// Agent is one role of one host. (Type, Host) is unique.
type Agent struct {
	ID               string         `json:"id"`
	Type             string         `json:"agent_type"`
	Binary           string         `json:"binary"`
	Topic            string         `json:"topic"`
	Host             string         `json:"host"`
	AdminStateUp     bool           `json:"admin_state_up"`
	Description      string         `json:"description,omitempty"`
	AvailabilityZone string         `json:"availability_zone,omitempty"`
	Configurations   map[string]any `json:"configurations"`
	ResourcesSynced  *bool          `json:"resources_synced,omitempty"`
	CreatedAt        time.Time      `json:"created_at"`
	StartedAt        time.Time      `json:"started_at"`
	Heartbeat        time.Time      `json:"heartbeat_timestamp"`
}

// Clone returns a copy; values inside Configurations are shared and must not be changed.
func (a *Agent) Clone() *Agent {
	c := *a
	return &c
}

// Liveness exists while an agent's lease is kept: written under an etcd lease, it
// goes when the agent (and the controller that vouches for it) has been silent for
// agent_down_time. Its absence is what "dead" means.
type Liveness struct {
	AgentID    string    `json:"agent_id"`
	Controller string    `json:"controller"` // id of the controller that holds the stream
	Since      time.Time `json:"since"`
}

// DHCPBinding says which DHCP agents serve a network.
type DHCPBinding struct {
	NetworkID string   `json:"network_id"`
	AgentIDs  []string `json:"agent_ids"`
}
