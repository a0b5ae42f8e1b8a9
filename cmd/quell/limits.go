package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/urfave/cli/v2/altsrc"

	"quell"
	"quell/agent/ansible"
)

func durationFlag(name string, value time.Duration, usage string) cli.Flag {
	return altsrc.NewDurationFlag(&cli.DurationFlag{Name: name, Value: value, Usage: usage, EnvVars: env(name)})
}

// jobFlags say how an agent runs jobs.
func jobFlags() []cli.Flag {
	return []cli.Flag{
		listFlag("label", "`NAME=VALUE` of a label of this node, which job templates may demand; may be repeated"),
		stringFlag("inventory", "", "Ansible inventory that playbooks get and that knows the devices: a `PATH` (file, folder or script), or hosts with commas"),
		stringFlag("vault-password-file", "", "`FILE` with the password of what is encrypted by ansible-vault"),
		listFlag("playbook-uri-map", "`FROM=TO`: take playbook_uris that begin with FROM from the folder TO inside --playbook-dir; may be repeated (default: "+ansible.DefaultURIMap+")"),
		intFlag("max-devices", 20, fmt.Sprintf("work on at most this many devices of a job at once (up to %d)", quell.MaxDevicesAtOnce)),
		durationFlag("playbook-timeout", 0, "time limit of a playbook whose template and request say none, such as 30m; 0: none"),
		durationFlag("job-timeout", 0, "time limit of a job whose template and request say none; 0: none"),
		durationFlag("recovery-timeout", time.Hour, "time limit of a recovery playbook whose template says none"),
	}
}

// limitsOf reads the limits of jobs.
func limitsOf(c *cli.Context) (quell.Limits, error) {
	l := quell.Limits{
		Playbook: c.Duration("playbook-timeout"), Job: c.Duration("job-timeout"), Recovery: c.Duration("recovery-timeout"),
		MaxDevices: c.Int("max-devices"),
	}
	switch {
	case l.MaxDevices < 1 || l.MaxDevices > quell.MaxDevicesAtOnce:
		return l, usageError{fmt.Errorf("--max-devices %d is not between 1 and %d", l.MaxDevices, quell.MaxDevicesAtOnce)}
	case l.Playbook < 0 || l.Job < 0:
		return l, usageError{fmt.Errorf("a time limit is below zero: 0 is none")}
	case l.Recovery <= 0:
		return l, usageError{fmt.Errorf("--recovery-timeout %s is not above zero: recovery playbooks always have a limit", l.Recovery)}
	}
	return l, nil
}

// labelsOf reads the labels of the node.
func labelsOf(c *cli.Context) (map[string]string, error) {
	labels := map[string]string{}
	for _, text := range c.StringSlice("label") {
		name, value, ok := strings.Cut(text, "=")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, usageError{fmt.Errorf("--label %q is not NAME=VALUE", text)}
		}
		labels[name] = value
	}
	return labels, nil
}

// uriMapOf reads where playbooks are taken from.
func uriMapOf(c *cli.Context) ([]ansible.URIMapping, error) {
	var list []ansible.URIMapping
	for _, text := range c.StringSlice("playbook-uri-map") {
		m, err := ansible.ParseURIMapping(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--playbook-uri-map: %w", err)}
		}
		list = append(list, m)
	}
	return list, nil
}
