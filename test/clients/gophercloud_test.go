package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// acceptance lists gophercloud's own acceptance tests that this Networking API can pass, by
// package under internal/acceptance/openstack/networking/v2.
var acceptance = map[string][]string{
	".": {
		"TestAPIVersionsList", "TestAPIResourcesList", "TestExtensionsList", "TestExtensionGet",
		"TestNetworksExternalList", "TestNetworksCRUD", "TestNetworksPortSecurityCRUD", "TestNetworksRevision",
		"TestPortsCRUD", "TestPortsRemoveSecurityGroups", "TestPortsDontAlterSecurityGroups", "TestPortsWithNoSecurityGroup",
		"TestPortsRemoveAddressPair", "TestPortsDontUpdateAllowedAddressPairs", "TestPortsPortSecurityCRUD",
		"TestPortsWithExtraDHCPOptsCRUD", "TestPortsTrustedVIFCRUD", "TestPortsRevision",
		"TestSubnetCRUD", "TestSubnetsServiceType", "TestSubnetsDefaultGateway", "TestSubnetsNoGateway",
		"TestSubnetsWithSubnetPool", "TestSubnetsWithSubnetPoolNoCIDR", "TestSubnetsWithSubnetPoolPrefixlen",
		"TestSubnetDNSNameservers", "TestSubnetsRevision",
	},
	"extensions": {
		"TestTags", "TestQueryByTags", "TestNetworksProviderCRUD",
		"TestSecurityGroupsCreateUpdateDelete", "TestSecurityGroupsPort", "TestSecurityGroupsRevision", "TestSecurityAddressGroups",
	},
	"extensions/layer3": {
		"TestLayer3RouterCreateDelete", "TestLayer3ExternalRouterCreateDelete", "TestLayer3RouterInterface", "TestLayer3RouterRevision",
		"TestLayer3RouterScheduling", "TestLayer3ExtraRoutesAddRemove",
		"TestLayer3FloatingIPsCreateDelete", "TestLayer3FloatingIPsExternalCreateDelete",
		"TestLayer3FloatingIPsWithFixedIPsExternalCreateDelete", "TestLayer3FloatingIPsCreateDeleteBySubnetID", "TestLayer3FloatingIPsRevision",
	},
	"extensions/mtu":                     {"TestMTUNetworkCRUD"},
	"extensions/networkipavailabilities": {"TestNetworkIPAvailabilityList"},
	"extensions/portsbinding":            {"TestPortsbindingCRUD"},
	"extensions/quotas":                  {"TestQuotasGet", "TestQuotasUpdate", "TestQuotasDelete"},
}

// TestGophercloudAcceptance runs them, unchanged, from the module cache.
func TestGophercloudAcceptance(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/gophercloud/gophercloud/v2").Output()
	if err != nil {
		t.Fatalf("find gophercloud in the module cache: %v", err)
	}
	dir := strings.TrimSpace(string(out))
	lab := startLab(t)
	external := lab.externalNetwork(t)
	lab.joinL3(t)
	env := append(os.Environ(),
		"OS_AUTH_URL="+lab.Identity, "OS_USERNAME=admin", "OS_PASSWORD=secret", "OS_PROJECT_NAME=admin",
		"OS_DOMAIN_ID=default", "OS_REGION_NAME=RegionOne", "OS_BRANCH=master",
		"OS_IMAGE_ID=image", "OS_FLAVOR_ID=flavor", "OS_FLAVOR_ID_RESIZE=flavor2",
		"OS_POOL_NAME=public", "OS_EXTGW_ID="+external,
		"GOFLAGS=-mod=mod", "CGO_ENABLED=0")
	for pkg, tests := range acceptance {
		args := []string{
			"test", "-count=1", "-timeout=8m", "-json", "-tags", "fixtures acceptance",
			"-run", "^(" + strings.Join(tests, "|") + ")$", "./internal/acceptance/openstack/networking/v2/" + pkg,
		}
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = dir, env
		result, runErr := cmd.CombinedOutput()
		verdicts, words := readVerdicts(result)
		for _, name := range tests {
			if verdicts[name] != "pass" {
				t.Errorf("%s %s: %q, want pass (%v)\n%s", pkg, name, verdicts[name], runErr, words[name])
			}
		}
	}
}

// readVerdicts reads the lines of `go test -json`: the last action and the output of each test.
func readVerdicts(out []byte) (verdict map[string]string, words map[string]string) {
	verdict, words = map[string]string{}, map[string]string{}
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var line struct{ Action, Test, Output string }
		if json.Unmarshal(sc.Bytes(), &line) != nil {
			continue
		}
		switch line.Action {
		case "pass", "fail", "skip":
			verdict[line.Test] = line.Action
		case "output":
			words[line.Test] += line.Output
		}
	}
	return verdict, words
}
