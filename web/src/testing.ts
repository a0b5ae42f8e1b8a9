import type { AbortRecord, Job, JobSummary, Playbook } from './api/types';

/** A job for tests, with what is said and harmless values for the rest. */
export function job(what: Partial<Job> = {}): Job {
  return {
    job_execution_id: '01980000-0000-7000-8000-000000000001',
    job_template_fq_name: ['default-global-system-config', 'three_steps_template'],
    job_template_id: '01980000-0000-4000-8000-0000000000aa',
    job_template_revision: 1,
    display_name: 'Three Steps',
    status: 'IN_PROGRESS',
    reason: '',
    warnings: [],
    node: 'node-1',
    unreachable_since: null,
    percentage_completed: 0,
    current_tasks: [],
    requester: 'ann',
    created_at: '2026-01-01T10:00:00Z',
    started_at: '2026-01-01T10:00:01Z',
    ended_at: null,
    playbooks: [],
    recovery: [],
    abort: null,
    devices: [],
    locks: null,
    fabric_fq_name: null,
    transaction_id: '01980000-0000-7000-8000-000000000001',
    transaction_descr: null,
    resumed_from: null,
    resumed_as: null,
    rerun_of: null,
    output: null,
    ...what,
  };
}

/** The same job as lists have it. */
export function summary(what: Partial<JobSummary> = {}): JobSummary {
  const { playbooks: _playbooks, recovery: _recovery, output: _output, abort: _abort, ...common } = job();
  return { ...common, abort: null, fabric_fq_name: null, device_ids: [], device_count: 0, current_tasks: [], revision: 1, ...what };
}

export function abortRecord(what: Partial<AbortRecord> = {}): AbortRecord {
  return {
    mode: 'graceful',
    source: 'web',
    requested_by: '127.0.0.1',
    reason: '',
    requested_at: '2026-01-01T10:00:10Z',
    recovery: true,
    override: false,
    seen_at: null,
    escalated_at: null,
    signalled_at: null,
    dead_at: null,
    survivors: [],
    outcome: '',
    error: '',
    ...what,
  };
}

export function playbook(what: Partial<Playbook> = {}): Playbook {
  return {
    playbook_uri: 'step.yml',
    status: 'PENDING',
    exit_code: null,
    signal: '',
    error: '',
    try: 0,
    multi_device: false,
    unabortable: false,
    devices_succeeded: 0,
    devices_failed: 0,
    devices_total: null,
    from: null,
    leftovers: [],
    leftover_count: 0,
    started_at: null,
    ended_at: null,
    ...what,
  };
}
