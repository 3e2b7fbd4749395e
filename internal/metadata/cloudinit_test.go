package metadata

import (
	"encoding/json"
	"errors"
	"os/exec"
	"testing"

	"neutrino/internal/model"
)

// What the instance runs: the crawlers of Debian's cloud-init.
const crawl = `
import json
from cloudinit.sources.helpers import ec2, openstack
url = "http://169.254.169.254"
o = openstack.MetadataReader(url, timeout=30, retries=1).read_v2()
md = ec2.get_instance_metadata(metadata_address=url, timeout=30, retries=1)
print(json.dumps({
  "version": o["version"], "openstack": o["metadata"], "user": o["userdata"].decode(), "net": o["networkdata"],
  "config": openstack.convert_net_json(o["networkdata"], known_macs={"fa:16:3e:00:00:01": "eth0"}),
  "ec2": md, "ec2user": ec2.get_instance_userdata(metadata_address=url, timeout=30, retries=1).decode()}))
`

func TestCloudInit(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import cloudinit").Run() != nil {
		t.Skip("needs Debian's package cloud-init: apt-get install cloud-init")
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs iproute2: apt-get install iproute2")
	}
	w := newWire(t, 0, "10.0.0.7")
	p := w.open(t, newService(t, Options{}))
	h := host("000000000001", "10.0.0.7", &model.InstanceData{HostName: "web", PublicKeys: []string{testKey}, UserData: "#cloud-config\n{}\n"})
	p.Set([]model.DHCPHost{h}, nil)
	cmd := exec.Command(ip, "netns", "exec", w.guest, python, "-c", crawl)
	text, err := cmd.Output()
	if err != nil {
		var stderr string
		var x *exec.ExitError
		if errors.As(err, &x) {
			stderr = string(x.Stderr)
		}
		t.Fatalf("%v: %s", err, stderr)
	}
	var got struct {
		OpenStack struct {
			InstanceID string            `json:"instance-id"`
			HostName   string            `json:"hostname"`
			PublicKeys map[string]string `json:"public_keys"`
		}
		User, EC2User string
		EC2           struct {
			InstanceID string            `json:"instance-id"`
			LocalIPv4  string            `json:"local-ipv4"`
			HostName   string            `json:"hostname"`
			PublicKeys map[string]string `json:"public-keys"`
		}
		Config struct {
			Config []struct {
				Name    string
				Subnets []struct{ Type string }
			}
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	o, e := got.OpenStack, got.EC2
	if o.InstanceID != h.Device || o.HostName != "web" || o.PublicKeys["key-0"] != testKey || got.User != h.Instance.UserData {
		t.Errorf("OpenStack: %s", text)
	}
	if e.InstanceID != h.Device || e.LocalIPv4 != "10.0.0.7" || e.HostName != "web" || e.PublicKeys["key-0"] != testKey || got.EC2User != h.Instance.UserData {
		t.Errorf("EC2: %s", text)
	}
	if c := got.Config.Config; len(c) != 1 || c[0].Name != "eth0" || len(c[0].Subnets) != 1 || c[0].Subnets[0].Type != "dhcp4" {
		t.Errorf("network: %s", text)
	}
}
