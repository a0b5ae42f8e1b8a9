import type { AbortRecord, Job } from '../api/types';
import { formatDuration, isFinal } from '../ui/format';

export interface Entry {
  key: string;
  title: string;
  at?: string;
  /** Further sentences, each a line. */
  lines: string[];
  variant: 'success' | 'info' | 'warning' | 'danger' | 'pending';
}

const ways: Record<string, string> = {
  api: 'the API',
  cli: 'the command line',
  web: 'this page',
  etcdctl: 'etcdctl',
  local: 'quell abort --local',
};

const outcomes: Record<Exclude<AbortRecord['outcome'], ''>, string> = {
  aborted: 'The abort ended the job.',
  finished_first: 'The job ended by itself before the abort took effect.',
  recovery_stopped: 'The job ended by itself, and the abort kept its recovery playbooks from running or finishing.',
  withdrawn: 'The abort was taken back.',
  already_final: 'The job had ended when the abort came.',
};

/** What became of the job's abort, in the order of its happening, with what is still to come. */
export function timeline(job: Job): Entry[] {
  const abort = job.abort;
  if (!abort) {
    return [];
  }
  const entries: Entry[] = [];
  if (abort.error) {
    entries.push({ key: 'error', title: abort.mode ? 'A request was not acted on' : 'The request is not acted on', lines: [abort.error], variant: 'danger' });
  }
  if (!abort.mode) {
    return entries;
  }
  const over = isFinal(job.status) || abort.outcome !== '';
  const forced = abort.mode === 'force' || Boolean(abort.escalated_at);
  entries.push(requested(abort, over));
  if (abort.seen_at) {
    entries.push({ key: 'seen', title: job.node ? `Seen by ${job.node}` : 'Seen', at: abort.seen_at, lines: [], variant: 'success' });
  } else if (!over) {
    entries.push(unseen(job));
  }
  if (abort.escalated_at) {
    entries.push({ key: 'escalated', title: 'Turned to force', at: abort.escalated_at, lines: [], variant: 'warning' });
  }
  if (abort.signalled_at) {
    entries.push({ key: 'signalled', title: 'Killed', at: abort.signalled_at, lines: [killed(job)], variant: 'success' });
  } else if (forced && abort.seen_at && !over && job.status === 'ABORTING') {
    // While a job is aborting, its reason is a playbook that must not be interrupted, if anything.
    const waits = job.reason ? { title: 'Waiting for a playbook', lines: [job.reason] } : { title: 'Being killed', lines: [] };
    entries.push({ key: 'signalled', ...waits, variant: 'info' });
  } else if (!forced && abort.seen_at && !over) {
    entries.push({ key: 'waiting', title: 'Waiting for the playbook that runs', lines: ['It ends by itself; what comes after it is skipped.'], variant: 'info' });
  }
  if (abort.survivors.length > 0) {
    entries.push({
      key: 'survivors',
      title: abort.survivors.length === 1 ? 'A process cannot be killed' : `${abort.survivors.length} processes cannot be killed`,
      lines: abort.survivors.map(({ pid, command, state }) => `${pid} ${command}${state ? ` (state ${state})` : ''}`),
      variant: 'danger',
    });
  }
  if (abort.dead_at) {
    const took = abort.requested_at ? Date.parse(abort.dead_at) - Date.parse(abort.requested_at) : 0;
    const lines = took >= 1000 ? [`${formatDuration(took)} after the request.`] : [];
    entries.push({ key: 'dead', title: 'Nothing of it is left on the node', at: abort.dead_at, lines, variant: 'success' });
  }
  const recovery = recoveryEntry(job, abort, over);
  if (recovery) {
    entries.push(recovery);
  }
  if (over) {
    entries.push(ended(job, abort));
  } else {
    entries.push({ key: 'final', title: 'Final', lines: [], variant: 'pending' });
  }
  return entries;
}

function requested(abort: AbortRecord, over: boolean): Entry {
  const by = abort.requested_by ? `By ${abort.requested_by}, through ` : 'Through ';
  const lines = [`${by}${ways[abort.source] ?? (abort.source || 'an unknown way')}.`];
  if (abort.reason) {
    lines.push(`Reason: ${abort.reason}`);
  }
  if (abort.mode === 'graceful' && abort.force_after && !over) {
    lines.push(`Turns to force ${abort.force_after} after it was seen.`);
  }
  if (!abort.recovery) {
    lines.push('Without recovery playbooks.');
  }
  if (abort.override) {
    lines.push('Playbooks that may not be interrupted are killed too.');
  }
  // A graceful abort that has turned to force began as one.
  const mode = abort.mode === 'force' && !abort.escalated_at ? 'Abort by force' : 'Graceful abort';
  return { key: 'requested', title: `${mode} requested`, at: abort.requested_at ?? undefined, lines, variant: 'success' };
}

function unseen(job: Job): Entry {
  if (job.unreachable_since) {
    return {
      key: 'seen',
      title: `Not seen: ${job.node} is out of reach`,
      lines: ['The request stays stored. The node acts on it when it is back; the playbooks go on until then.'],
      variant: 'warning',
    };
  }
  return { key: 'seen', title: job.node ? `Not seen yet by ${job.node}` : 'Not seen yet', lines: [], variant: 'pending' };
}

function killed(job: Job): string {
  const hit = job.playbooks.filter(({ status }) => status === 'INTERRUPTED').map(({ playbook_uri }) => playbook_uri);
  return hit.length > 0 ? `${hit.join(', ')}: every process of it.` : 'Every process of the job.';
}

function recoveryEntry(job: Job, abort: AbortRecord, over: boolean): Entry | undefined {
  if (job.recovery.length === 0) {
    return undefined;
  }
  const lines = job.recovery.map(({ playbook_uri, status }) => `${playbook_uri}: ${status}`);
  const began = job.recovery.find(({ started_at }) => started_at)?.started_at ?? undefined;
  if (!began) {
    return over || !abort.recovery ? undefined : { key: 'recovery', title: 'Recovery', lines: [], variant: 'pending' };
  }
  const failed = job.recovery.some(({ status }) => status === 'FAILURE' || status === 'INTERRUPTED');
  const done = job.recovery.every(({ status }) => status === 'SUCCESS');
  return { key: 'recovery', title: 'Recovery', at: began, lines, variant: failed ? 'danger' : done ? 'success' : 'info' };
}

function ended(job: Job, abort: AbortRecord): Entry {
  const lines = abort.outcome ? [outcomes[abort.outcome]] : [];
  if (!isFinal(job.status)) {
    return { key: 'final', title: 'Taken back', lines, variant: 'info' };
  }
  return {
    key: 'final',
    title: `Final: ${job.status}`,
    at: job.ended_at ?? undefined,
    lines,
    variant: job.status === 'FAILURE' || job.status === 'LOST' ? 'danger' : job.status === 'WARNING' ? 'warning' : 'success',
  };
}
