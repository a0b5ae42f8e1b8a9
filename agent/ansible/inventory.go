package ansible

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// maxInventory bounds what ansible-inventory may answer.
const maxInventory = 64 << 20

// DeviceFacts is what the operator's inventory says about a device, as the inventory has it: values may be encrypted, and
// those with templates in them are templates that look them up for the device that device_id names; nil is what it does not
// say. Its members belong into Playbook.Trusted.
type DeviceFacts struct {
	FQName       json.RawMessage // device_fqname, else device_name
	ManagementIP json.RawMessage // device_management_ip, else ansible_host
	Vendor       json.RawMessage // vendor, else device_vendor
	Family       json.RawMessage // device_family, else family
	Product      json.RawMessage // product_name, else device_product
	Username     json.RawMessage // device_username, else ansible_user
	Password     Secret          `json:"-"` // device_password, else ansible_password
}

// Vars returns the facts that are known, by the names of the variables that they become.
func (d DeviceFacts) Vars() map[string]any {
	vars := map[string]any{}
	for name, value := range map[string]json.RawMessage{
		"device_fqname":        d.FQName,
		"device_management_ip": d.ManagementIP,
		"vendor":               d.Vendor,
		"device_family":        d.Family,
		"product_name":         d.Product,
		"device_username":      d.Username,
	} {
		if value != nil {
			vars[name] = value
		}
	}
	if d.Password != nil {
		vars["device_password"] = d.Password
	}
	return vars
}

// Secret is a JSON value that shows up in no log and no error, in clear in the variables' file alone. An encrypted one
// is encrypted there too.
type Secret json.RawMessage

// MarshalJSON returns the value itself.
func (s Secret) MarshalJSON() ([]byte, error) { return json.RawMessage(s).MarshalJSON() }

// Format hides the value, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }

// LogValue hides the value.
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// Facts asks Ansible for what the inventory says about devices, which are the hosts of the same names. A device that is not
// in it has no entry; without an inventory none has. When ctx ends, what was started for it is killed.
func (a *Ansible) Facts(ctx context.Context, devices []string) (map[string]DeviceFacts, error) {
	if a.inventory == "" || len(devices) == 0 {
		return map[string]DeviceFacts{}, nil
	}
	raw, err := a.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("the inventory could not be read: %w", err)
	}
	return pick(raw, devices)
}

// list returns what ansible-inventory --list answers.
func (a *Ansible) list(ctx context.Context) (_ []byte, err error) {
	binary, err := a.inventoryBinary()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.factsDir(), 0o700); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(a.factsDir(), "")
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(temp))
		_ = os.Remove(a.factsDir()) // unless another question is being asked
	}()
	if err := prepareTemp(temp); err != nil {
		return nil, err
	}
	// The group_vars beside the playbooks count too, as they do in a run.
	args := append([]string{"--list", "--playbook-dir=" + a.playbookDir}, a.sources()...)
	cmd := exec.Command(binary, args...)
	cmd.Dir = a.playbookDir
	// A source that cannot be read is but a warning to Ansible, and all devices would seem to be missing.
	cmd.Env = append(baseEnviron(temp), "ANSIBLE_INVENTORY_UNPARSED_FAILED=True")
	out, stderr, err := capture(ctx, cmd, maxInventory)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("ansible-inventory: %w: %s", err, lastError(stderr))
	}
	return out, err
}

// factsDir is where the temp folders of questions to the inventory are. New removes what a crash has left there.
func (a *Ansible) factsDir() string { return a.pluginDir + "-facts" }

// inventoryBinary finds the ansible-inventory that belongs to the ansible-playbook.
func (a *Ansible) inventoryBinary() (string, error) {
	const name = "ansible-inventory"
	dirs := []string{filepath.Dir(a.binary)}
	if real, err := filepath.EvalSymlinks(a.binary); err == nil {
		dirs = append(dirs, filepath.Dir(real))
	}
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// lastError returns the line in which Ansible says what went wrong. What else there is may quote files, or be what a
// script says of itself.
func lastError(stderr []byte) string {
	lines := strings.FieldsFunc(strings.ToValidUTF8(string(stderr), "?"), func(r rune) bool { return r == '\n' || r == '\r' })
	last := "it did not say why: run ansible-inventory --list on the node"
	for _, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "ERROR!") || strings.HasPrefix(line, "[ERROR]") {
			last = line
			break
		}
	}
	last = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, last)
	return clip(strings.TrimSpace(last), 300)
}

// pick takes the devices' facts out of an inventory. Its errors quote nothing of it.
func pick(raw []byte, devices []string) (map[string]DeviceFacts, error) {
	bad := errors.New("the inventory could not be read: ansible-inventory answered something unexpected")
	var groups map[string]json.RawMessage
	if err := json.Unmarshal(raw, &groups); err != nil {
		return nil, bad
	}
	var meta struct {
		Hostvars map[string]json.RawMessage `json:"hostvars"`
	}
	if err := json.Unmarshal(groups["_meta"], &meta); err != nil {
		return nil, bad
	}
	// A host without any variables is in its groups alone.
	known := map[string]bool{}
	for name, group := range groups {
		var g struct {
			Hosts []string `json:"hosts"`
		}
		if name == "_meta" || json.Unmarshal(group, &g) != nil {
			continue
		}
		for _, host := range g.Hosts {
			known[host] = true
		}
	}

	found := map[string]DeviceFacts{}
	for _, id := range devices {
		vars, ok := meta.Hostvars[id]
		if !ok {
			if known[id] {
				found[id] = DeviceFacts{}
			}
			continue
		}
		facts, err := deviceFacts(vars)
		if err != nil {
			return nil, bad
		}
		found[id] = facts
	}
	return found, nil
}

func deviceFacts(vars []byte) (DeviceFacts, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, vars); err != nil {
		return DeviceFacts{}, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(compact.Bytes(), &members); err != nil {
		return DeviceFacts{}, err
	}
	first := func(names ...string) json.RawMessage {
		for i, name := range names {
			value, ok := members[name]
			switch {
			case !ok || string(value) == "null":
			case i > 0 && hasTemplate(string(value)):
				// It is about the device, not about the host of the play that uses it. Under the fact's own name it
				// cannot be looked up: what a run is given wins over the inventory there.
				return json.RawMessage(`"{{ hostvars[device_id]['` + name + `'] }}"`)
			default:
				return value
			}
		}
		return nil
	}
	return DeviceFacts{
		FQName:       first("device_fqname", "device_name"),
		ManagementIP: first("device_management_ip", "ansible_host"),
		Vendor:       first("vendor", "device_vendor"),
		Family:       first("device_family", "family"),
		Product:      first("product_name", "device_product"),
		Username:     first("device_username", "ansible_user"),
		Password:     Secret(first("device_password", "ansible_password")),
	}, nil
}
