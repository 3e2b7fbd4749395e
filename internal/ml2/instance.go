package ml2

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// instanceKey of binding:profile holds what an instance is told about itself.
const instanceKey = "instance"

// Limits of the instance's data, in bytes and keys. User data is what EC2 allows fourfold, and
// Nova's 64 KiB.
const (
	MaxUserData   = 64 << 10
	MaxPublicKeys = 16
	maxPublicKey  = 8 << 10
	maxHostName   = 253
)

var (
	hostNameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
	keyTypeForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9@.-]{0,63}$`)
)

// ReadInstance reads the key "instance" of a binding:profile: an object with hostname,
// public_keys and user_data, and nothing else. Nil = the profile has none. What cannot be
// passed on as it is is InvalidInput (400) naming it; the error repeats no user data.
func ReadInstance(profile map[string]any) (*model.InstanceData, error) {
	v, ok := profile[instanceKey]
	if !ok || v == nil {
		return nil, nil
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, badInstance("", "is not an object")
	}
	for k := range o {
		if !slices.Contains([]string{"hostname", "public_keys", "user_data"}, k) {
			return nil, badInstance("", "has the unknown key '%.64s'; known are hostname, public_keys, user_data", k)
		}
	}
	var d model.InstanceData
	var err error
	if d.HostName, err = instanceText(o, "hostname"); err != nil {
		return nil, err
	}
	if d.HostName != "" && (len(d.HostName) > maxHostName || !hostNameForm.MatchString(d.HostName)) {
		return nil, badInstance(".hostname", "'%.64s' is not a host name", d.HostName)
	}
	if d.UserData, err = instanceText(o, "user_data"); err != nil {
		return nil, err
	}
	if len(d.UserData) > MaxUserData {
		return nil, badInstance(".user_data", "has %d bytes; %d are allowed", len(d.UserData), MaxUserData)
	}
	if d.PublicKeys, err = instanceKeys(o["public_keys"]); err != nil {
		return nil, err
	}
	return &d, nil
}

func badInstance(field, format string, args ...any) error {
	return fault.InvalidInput("binding:profile instance"+field+" "+format, args...)
}

func instanceText(o map[string]any, key string) (string, error) {
	switch v := o[key].(type) {
	case nil:
		return "", nil
	case string:
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return "", badInstance("."+key, "is not text without NUL")
		}
		return v, nil
	}
	return "", badInstance("."+key, "is not a string")
}

func instanceKeys(v any) ([]string, error) {
	var all []any
	switch l := v.(type) {
	case nil:
		return nil, nil
	case []any:
		all = l
	case []string:
		for _, s := range l {
			all = append(all, s)
		}
	default:
		return nil, badInstance(".public_keys", "is not a list")
	}
	if len(all) > MaxPublicKeys {
		return nil, badInstance(".public_keys", "has %d keys; %d are allowed", len(all), MaxPublicKeys)
	}
	out := make([]string, 0, len(all))
	for i, e := range all {
		s, ok := e.(string)
		s = strings.TrimSpace(s)
		if !ok || !isPublicKey(s) {
			return nil, badInstance(".public_keys", "entry %d is not an OpenSSH public key on one line (type, base64, comment)", i)
		}
		out = append(out, s)
	}
	return out, nil
}

// isPublicKey holds a line against the form of sshd(8), AUTHORIZED_KEYS FILE FORMAT,
// without options: these would say what may be done with the key, and belong to the instance.
func isPublicKey(s string) bool {
	if len(s) > maxPublicKey || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return false
	}
	f := strings.Fields(s)
	if len(f) < 2 || !keyTypeForm.MatchString(f[0]) {
		return false
	}
	blob, err := base64.StdEncoding.DecodeString(f[1])
	// RFC 4253, 6.6: the blob begins with its type, as a string.
	n := len(f[0])
	return err == nil && len(blob) > 4+n && blob[0] == 0 && blob[1] == 0 && blob[2] == 0 && int(blob[3]) == n && string(blob[4:4+n]) == f[0]
}
