package config

import (
	"net"
	"slices"
	"strconv"
	"time"
)

// Config is what the files say, with defaults for what they do not say. It is made
// by [Load] and not changed afterwards, so it may be read from many goroutines.
type Config struct {
	Default       Default
	API           API
	TLS           TLS // [ssl]: of the API listener
	ML2           ML2
	VLAN          VLAN
	Flat          Flat
	VXLAN         VXLAN
	Eswitch       Eswitch
	SRIOVNIC      SRIOVNIC
	SRIOVDriver   Prohibit // [sriov_driver]
	OVSDriver     Prohibit // [ovs_driver]
	OVS           OVS
	Agent         Agent
	SecurityGroup SecurityGroup
	Quotas        Quotas
	Keystone      Keystone // [keystone_authtoken]
	Store         Store
	Fabric        Fabric
	Identity      Identity
	DHCP          DHCP
	L3            L3
	Metadata      Metadata
	VEB           VEB
	Libvirt       Libvirt
	Metrics       Metrics

	files    []string
	settings map[Name]Setting
	unacted  []Setting
}

// Default is [DEFAULT].
type Default struct {
	BindHost     string // "" never: see finish
	BindPort     int
	AuthStrategy string // AuthNone or AuthKeystone
	UseSSL       bool
	Host         string // this machine's name, as agents and binding:host_id use it
	StatePath    string
	BaseMAC      string // six octets, lower case, colons

	GlobalPhysnetMTU      int // bytes
	MaxDNSNameservers     int
	MaxSubnetHostRoutes   int
	MaxAllowedAddressPair int
	MaxRoutes             int
	EnableSNATByDefault   bool
	PaginationMaxLimit    int           // rows; 0 = no limit
	DHCPLeaseDuration     time.Duration // 0 = infinite
	DHCPAgentsPerNetwork  int
	AgentDownTime         time.Duration
	DNSDomain             string // without the trailing dot

	Debug   bool
	LogFile string // "" = standard error
	LogDir  string
	UseJSON bool
}

// Values of auth_strategy.
const (
	AuthNone     = "noauth"
	AuthKeystone = "keystone"
)

// API is [api], neutrino's own options of the API listener.
type API struct {
	NoauthAnywhere bool // serve noauth on an address that is not loopback
}

// TLS names the files of one end of a TLS connection.
type TLS struct {
	CertFile string
	KeyFile  string
	CAFile   string
}

// ML2 is [ml2].
type ML2 struct {
	TypeDrivers         []string
	TenantNetworkTypes  []string
	MechanismDrivers    []string
	PathMTU             int // bytes; 0 = only global_physnet_mtu counts
	PhysicalNetworkMTUs map[string]int
	OverlayIPVersion    int    // 4 or 6
	ExternalNetworkType string // "" = as any other network
	ExtensionDrivers    []string
}

// VLAN is [ml2_type_vlan].
type VLAN struct {
	NetworkVLANRanges []string // "physnet" or "physnet:min:max"
}

// Flat is [ml2_type_flat].
type Flat struct {
	FlatNetworks []string // "*" = any; empty = none
}

// VXLAN is [ml2_type_vxlan].
type VXLAN struct {
	VNIRanges []string // "min:max"
}

// Eswitch is [eswitch] of the Mellanox ML2 driver and agent.
type Eswitch struct {
	VnicType                  string // "", hostdev or mlnx_direct
	ApplyProfilePatch         bool
	PhysicalInterfaceMappings map[string][]string // physical network -> PF netdevs
}

// SRIOVNIC is [sriov_nic].
type SRIOVNIC struct {
	PhysicalDeviceMappings map[string][]string // physical network -> PF netdevs
	ExcludeDevices         map[string][]string // PF netdev -> PCI addresses of VFs
}

// OVS is [ovs].
type OVS struct {
	BridgeMappings map[string][]string // physical network -> its bridge; Check sees that it has one
	BridgeUplinks  map[string][]string // bridge -> its netdev, likewise
	Connection     string
	Datapath       string // system, netdev
	MoveAddresses  bool
	TLS            TLS // towards an ssl: Connection
}

// Prohibit is [sriov_driver] and [ovs_driver].
type Prohibit struct {
	VnicTypeProhibitList []string
}

// Agent is [agent].
type Agent struct {
	AvailabilityZone string
	ReportInterval   time.Duration // between signs of life; 0 = as the controller says
	StateFile        string
	Socket           string
	SocketGroup      string // "" = root only
}

// Libvirt is [libvirt].
type Libvirt struct {
	URI string
}

// SecurityGroup is [securitygroup].
type SecurityGroup struct {
	Enable   bool
	Firewall string // FirewallOVS or FirewallNone
}

// Values of firewall_driver.
const (
	FirewallOVS  = "openvswitch"
	FirewallNone = "noop"
)

// Filters reports whether the agent enforces port security and security groups on its bridges.
func (c *Config) Filters() bool {
	return c.SecurityGroup.Enable && c.SecurityGroup.Firewall == FirewallOVS && len(c.Bridges()) > 0
}

// Quotas is [quotas]: rows per project, -1 = no limit.
type Quotas struct {
	Default           int
	Network           int
	Subnet            int
	Port              int
	SecurityGroup     int
	SecurityGroupRule int
	Router            int
	FloatingIP        int
}

// Limits returns the quotas by the resource's singular API name.
func (q Quotas) Limits() map[string]int {
	return map[string]int{
		"network":             q.Network,
		"subnet":              q.Subnet,
		"port":                q.Port,
		"security_group":      q.SecurityGroup,
		"security_group_rule": q.SecurityGroupRule,
		"router":              q.Router,
		"floatingip":          q.FloatingIP,
		"subnetpool":          q.Default,
	}
}

// Keystone is [keystone_authtoken]: how tokens are validated.
type Keystone struct {
	AuthURL            string // of Keystone, with or without /v3
	WWWAuthenticateURI string // what a 401 tells the client
	Username           string
	UserID             string // if set, Username and its domain do not count
	UserDomainID       string // if set, UserDomainName does not count
	UserDomainName     string
	Password           string
	ProjectID          string // if set, ProjectName and its domain do not count
	ProjectName        string
	ProjectDomainID    string // if set, ProjectDomainName does not count
	ProjectDomainName  string
	DefaultDomainID    string // of whichever has none
	DefaultDomainName  string
	CAFile             string
	Insecure           bool
	HTTPConnectTimeout time.Duration // 0 = the client's own
	TokenCacheTime     time.Duration // negative = tokens are not cached
	ServiceTokenRoles  []string
	ServiceRolesNeeded bool // a service token without one of them is refused
}

// Store is [store]: where the controller keeps everything.
type Store struct {
	Endpoints    []string // empty = etcd inside the controller
	Cluster      string   // the part of the key space
	DataDir      string   // of the etcd inside
	ListenClient string   // host:port for etcd clients of the etcd inside; "" = none
	Username     string
	Password     string
	TLS          TLS // towards Endpoints
}

// Fabric is [fabric]: between controllers and agents.
type Fabric struct {
	Listen      []string // controller: host:port or unix:///path
	Controllers []string // agent: host:port or unix:///path, tried in order
	TLS         TLS
}

// Identity is [identity]: the built-in development identity.
type Identity struct {
	Enabled bool
	File    string // YAML of users, projects and roles; "" = built-in ones
}

// DHCP is [dhcp]: the DHCP role of an agent.
type DHCP struct {
	Enabled    bool
	LeaseTime  time.Duration // 0 = [DEFAULT] dhcp_lease_duration
	DNSServers []string      // given where a subnet has none

	// Whether instances are led to the metadata service through the DHCP port: on subnets
	// without a router of ours, and on all.
	IsolatedMetadata bool
	ForceMetadata    bool
}

// L3 is [l3]: the L3 role of an agent.
type L3 struct {
	Enabled bool
}

// Metadata is [metadata], with what metadata_agent.ini has in [DEFAULT].
type Metadata struct {
	Enabled      bool
	NovaHost     string // "" = there is no Nova: instances get documents of our own
	NovaPort     int
	NovaProtocol string // http, https
	NovaInsecure bool
	NovaTLS      TLS
	SharedSecret string
}

// VEB is [veb]: the software embedded switch.
type VEB struct {
	PinDir string // records, and a bpf file system with the pins
}

// Metrics is [metrics].
type Metrics struct {
	Listen string // host:port; "" = not served
}

// Files returns the files that were read, in order.
func (c *Config) Files() []string { return slices.Clone(c.files) }

// Where returns the last place an option was set at, for errors that are found
// later than by Load. Section and name are the option's own, not old ones.
func (c *Config) Where(section, name string) (Setting, bool) {
	s, ok := c.settings[Name{section, name}]
	return s, ok
}

// Unacted returns the options that the files set, that are known, and on which
// neutrino does not act, or not in all that they ask for, in the order of the files. They
// are to be reported at start.
func (c *Config) Unacted() []Setting { return slices.Clone(c.unacted) }

// APIAddress is host:port of the API listener.
func (c *Config) APIAddress() string {
	return net.JoinHostPort(c.Default.BindHost, strconv.Itoa(c.Default.BindPort))
}

// DeviceMappings is physical network -> PF netdevs from [sriov_nic]
// physical_device_mappings and, after them, the older [eswitch]
// physical_interface_mappings, each device once.
func (c *Config) DeviceMappings() map[string][]string {
	all := map[string][]string{}
	for _, m := range []map[string][]string{c.SRIOVNIC.PhysicalDeviceMappings, c.Eswitch.PhysicalInterfaceMappings} {
		for network, devices := range m {
			for _, d := range devices {
				if !slices.Contains(all[network], d) {
					all[network] = append(all[network], d)
				}
			}
		}
	}
	return all
}

// Bridges is physical network -> Open vSwitch bridge.
func (c *Config) Bridges() map[string]string {
	out := map[string]string{}
	for network, names := range c.OVS.BridgeMappings {
		for _, n := range names {
			out[network] = n
		}
	}
	return out
}

// LeaseTime is how long a DHCP lease lasts; 0 = for ever.
func (c *Config) LeaseTime() time.Duration {
	if c.DHCP.LeaseTime != 0 {
		return c.DHCP.LeaseTime
	}
	return c.Default.DHCPLeaseDuration
}
