import { expect, test } from 'vitest';
import { job } from '../testing';
import { formatDuration, formatTime, formatUTC, isFinal, nameOf, shortId } from './format';

test('a duration has its two largest units', () => {
  const cases: [number, string][] = [
    [-5, '0 s'],
    [0, '0 s'],
    [900, '1 s'],
    [59_400, '59 s'],
    [60_000, '1 min'],
    [61_000, '1 min 1 s'],
    [3_600_000, '1 h'],
    [3_605_000, '1 h'],
    [3_660_000, '1 h 1 min'],
    [90_061_000, '1 d 1 h'],
  ];
  for (const [milliseconds, want] of cases) {
    expect(formatDuration(milliseconds)).toBe(want);
  }
});

test('ids made in the same minute differ in their short form', () => {
  expect(shortId('0197e5a0-1111-7000-8000-0000aaaa0001')).toBe('…aaaa0001');
  expect(shortId('7')).toBe('7');
});

test('the last five statuses are final', () => {
  const all = ['QUEUED', 'STARTING', 'IN_PROGRESS', 'ABORTING', 'RECOVERING', 'SUCCESS', 'WARNING', 'FAILURE', 'ABORTED', 'LOST'] as const;
  expect(all.filter(isFinal)).toEqual(['SUCCESS', 'WARNING', 'FAILURE', 'ABORTED', 'LOST']);
});

test('a job is called by its description, else its display name, else its template', () => {
  expect(nameOf(job({ description: 'Leafs of rack 4' }))).toBe('Leafs of rack 4');
  expect(nameOf(job())).toBe('Three Steps');
  expect(nameOf(job({ display_name: '' }))).toBe('three_steps_template');
});

test('the date is shown where it is not today', () => {
  const now = new Date(2026, 0, 2, 12);
  expect(formatTime(new Date(2026, 0, 2, 9, 5, 7), now)).toMatch(/^09:05:07$/);
  expect(formatTime(new Date(2026, 0, 1, 9, 5, 7), now)).toMatch(/1.*09:05:07$/);
  expect(formatTime(new Date(2025, 0, 1, 9, 5, 7), now)).toMatch(/2025/);
  expect(formatUTC(new Date('2026-01-02T03:04:05.678Z'))).toBe('2026-01-02 03:04:05 UTC');
});
