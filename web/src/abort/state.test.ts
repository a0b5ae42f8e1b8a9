import { expect, test } from 'vitest';
import { abortRecord, job } from '../testing';
import { abortNote, modesFor, pendingAbort } from './state';

test('what would change nothing is not offered', () => {
  const fresh = job();
  const graceful = job({ abort: abortRecord() });
  const force = job({ abort: abortRecord({ mode: 'force' }) });
  const withdrawn = job({ abort: abortRecord({ outcome: 'withdrawn' }) });
  const unreadable = job({ abort: abortRecord({ mode: '', error: 'the mode "halt" is unknown' }) });
  const final = job({ status: 'SUCCESS' });

  expect(modesFor([fresh])).toEqual(['graceful', 'force']);
  expect(modesFor([graceful])).toEqual(['force']);
  expect(modesFor([force])).toEqual([]);
  expect(modesFor([withdrawn])).toEqual(['graceful', 'force']);
  expect(modesFor([unreadable])).toEqual(['graceful', 'force']);
  expect(modesFor([final])).toEqual([]);
  expect(modesFor([final, force, fresh])).toEqual(['graceful', 'force']);
});

test('a row says how far the abort has come', () => {
  expect(abortNote(job())).toBe('');
  expect(abortNote(job({ abort: abortRecord() }))).toBe('graceful, requested');
  expect(abortNote(job({ abort: abortRecord({ mode: 'force', seen_at: '2026-01-01T10:00:11Z' }) }))).toBe('force, seen');
  expect(abortNote(job({ abort: abortRecord(), status: 'ABORTED' }))).toBe('');
  expect(pendingAbort(job({ abort: abortRecord({ outcome: 'withdrawn' }) }))).toBeUndefined();
});
