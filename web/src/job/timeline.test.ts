import { expect, test } from 'vitest';
import { abortRecord, job, playbook } from '../testing';
import { timeline } from './timeline';

const titles = (...args: Parameters<typeof timeline>) => timeline(...args).map(({ title }) => title);
const at = (seconds: number) => `2026-01-01T10:00:${seconds}Z`;

test('no abort, no timeline', () => {
  expect(timeline(job())).toEqual([]);
});

test('a graceful abort waits for what runs', () => {
  expect(titles(job({ abort: abortRecord() }))).toEqual(['Graceful abort requested', 'Not seen yet by node-1', 'Final']);
  expect(titles(job({ status: 'ABORTING', abort: abortRecord({ seen_at: at(11) }) }))).toEqual([
    'Graceful abort requested',
    'Seen by node-1',
    'Waiting for the playbook that runs',
    'Final',
  ]);
});

test('a forced abort says when what was killed', () => {
  const entries = timeline(
    job({
      status: 'ABORTED',
      ended_at: at(14),
      playbooks: [playbook({ playbook_uri: 'apply.yml', status: 'INTERRUPTED' })],
      abort: abortRecord({ mode: 'force', reason: 'wrong image', seen_at: at(11), signalled_at: at(12), dead_at: at(13), outcome: 'aborted' }),
    }),
  );
  expect(entries.map(({ title }) => title)).toEqual([
    'Abort by force requested',
    'Seen by node-1',
    'Killed',
    'Nothing of it is left on the node',
    'Final: ABORTED',
  ]);
  expect(entries[0]?.lines).toEqual(['By 127.0.0.1, through this page.', 'Reason: wrong image']);
  expect(entries[2]?.lines).toEqual(['apply.yml: every process of it.']);
  expect(entries[3]?.lines).toEqual(['3 s after the request.']);
});

test('a graceful abort that turned to force shows both', () => {
  const abort = abortRecord({ mode: 'force', seen_at: at(11), escalated_at: at(12), signalled_at: at(12) });
  expect(titles(job({ status: 'ABORTING', abort })).slice(0, 4)).toEqual(['Graceful abort requested', 'Seen by node-1', 'Turned to force', 'Killed']);
});

test('a forced abort tells which playbook it waits for', () => {
  const abort = abortRecord({ mode: 'force', seen_at: at(11) });
  const reason = 'the abort waits for the end of playbook flash.yml, which must not be interrupted; override kills it all the same';
  const entry = (reason: string) => timeline(job({ status: 'ABORTING', reason, abort })).find(({ key }) => key === 'signalled');
  expect(entry(reason)).toMatchObject({ title: 'Waiting for a playbook', lines: [reason] });
  expect(entry('')).toMatchObject({ title: 'Being killed', lines: [] });
});

test('survivors are named', () => {
  const abort = abortRecord({ mode: 'force', seen_at: at(11), signalled_at: at(12), survivors: [{ pid: 7, command: 'dd', state: 'D' }] });
  const entry = timeline(job({ status: 'ABORTING', abort })).find(({ key }) => key === 'survivors');
  expect(entry).toMatchObject({ title: 'A process cannot be killed', lines: ['7 dd (state D)'], variant: 'danger' });
});

test('a node out of reach is said, with what will happen', () => {
  const entry = timeline(job({ unreachable_since: at(5), abort: abortRecord() }))[1];
  expect(entry?.title).toBe('Not seen: node-1 is out of reach');
});

test('a request that cannot be read shows its error alone', () => {
  const entries = timeline(job({ abort: abortRecord({ mode: '', error: 'the mode "halt" is unknown' }) }));
  expect(entries).toMatchObject([{ title: 'The request is not acted on', lines: ['the mode "halt" is unknown'], variant: 'danger' }]);
});

test('an abort that was taken back is over though the job goes on', () => {
  expect(titles(job({ abort: abortRecord({ seen_at: at(11), outcome: 'withdrawn' }) }))).toEqual([
    'Graceful abort requested',
    'Seen by node-1',
    'Taken back',
  ]);
});

test('the recovery is part of it', () => {
  const recovery = [playbook({ playbook_uri: 'restore.yml', status: 'RUNNING', started_at: at(14) })];
  const abort = abortRecord({ mode: 'force', seen_at: at(11), signalled_at: at(12), dead_at: at(13) });
  const entry = timeline(job({ status: 'RECOVERING', recovery, abort })).find(({ key }) => key === 'recovery');
  expect(entry).toMatchObject({ lines: ['restore.yml: RUNNING'], variant: 'info', at: at(14) });
});
