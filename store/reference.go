package store

import "quell"

// KeyDoc describes one kind of key for the reference page.
type KeyDoc struct{ Key, Value, Writer, Lives string }

// Reference lists the keys in etcd, in the order in which a person meets
// them. <…> stands for a name.
func Reference() []KeyDoc {
	k := keys{}
	docs := []KeyDoc{
		{k.template(quell.FQName{"<fq_name>"}), "job template; the parts of its name are joined with ':'", "API", "until deleted"},
		{k.spec("<id>"), "what the job was asked to do: template, input, params, requester, created_at; at most 1 MiB", "API, once", "retention"},
		{k.status("<id>"), "status, node, playbooks, devices, locks, abort record, times; at most 64 KiB; written by transitions only", "API until queued, scheduler while queued, then the owning agent", "retention"},
		{k.progress("<id>"), "percentage and current tasks; at most 4 KiB", "owning agent", "until final"},
		{k.output("<id>"), "what the playbooks gave back; at most 1 MiB; passwords in device_json are left out", "owning agent", "retention"},
		{k.resumed("<id>"), "the job that goes on with the work of this one", "API, once", "retention"},
		{k.abort("<id>"), "the abort intent: graceful, force, or JSON", "API, etcdctl", "retention"},
		{k.star(), "emergency: an intent for every job whose spec is older than this value", "etcdctl", "until overwritten"},
		{k.aborts() + "<uuid>", "abort-all: an intent for every job whose spec is older than this key", "API", "until no older job is active"},
		{k.aborts() + starPrefix + "<revision>", "copy of the emergency key's value of that revision", "whoever sees it first", "until no older job is active"},
		{k.active("<id>"), "exists while the job is not final: {} while queued, then node and attempt; its mod revision is the owner's token", "API, scheduler, agent", "until final"},
		{k.index("<node>", "<id>"), "index of the above, for the agent to watch", "scheduler", "until final"},
		{k.lock(quell.Lock{Fabric: "<fabric>"}), "the id of the job that has the fabric for itself", "scheduler", "until final"},
		{k.lock(quell.Lock{Fabric: "<fabric>", Device: "<device>"}), "the id of the job that has the device for itself", "scheduler; the owning agent for a device that turns up in the middle", "until final"},
		{k.nodeInfo("<node>"), "address, release, labels, capacity, instance", "agent", "the agent's lease, 10 s"},
		{k.leader() + "/…", "election of the scheduler", "scheduler", "the leader's lease, 10 s"},
	}
	for i := range docs {
		docs[i].Key = unescape(docs[i].Key)
	}
	return docs
}
