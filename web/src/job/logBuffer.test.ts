import { expect, test } from 'vitest';
import { LogBuffer } from './logBuffer';

const textOf = (buffer: LogBuffer) =>
  buffer
    .snapshot()
    .map(({ text }) => text)
    .join('');

test('pieces come together as they were written', () => {
  const buffer = new LogBuffer();
  for (const piece of ['one\ntw', 'o\n', '', '\nfour', '\n']) {
    buffer.append(piece);
  }
  expect(textOf(buffer)).toBe('one\ntwo\n\nfour\n');
  expect(buffer.truncated).toBe(false);
});

test('colours and other terminal sequences are left out', () => {
  const buffer = new LogBuffer();
  buffer.append('\u001b[0;32mok: [leaf-1]\u001b[0m\r\n\u001b]0;title\u0007done\u001b[K\n');
  expect(textOf(buffer)).toBe('ok: [leaf-1]\ndone\n');
});

test('the beginning of a long log is dropped, by blocks', () => {
  const buffer = new LogBuffer(2);
  for (let i = 1; i <= 500; i++) {
    buffer.append(`${i}\n`);
  }
  expect(buffer.truncated).toBe(true);
  expect(textOf(buffer)).toMatch(/^201\n/);
  expect(textOf(buffer)).toMatch(/\n500\n$/);
});

test('a full block stays the same object', () => {
  const buffer = new LogBuffer();
  for (let i = 1; i <= 250; i++) {
    buffer.append(`${i}\n`);
  }
  const before = buffer.snapshot();
  buffer.append('more\n');
  const after = buffer.snapshot();
  expect(after[0]).toBe(before[0]);
  expect(after[1]).not.toBe(before[1]);
  expect(after[1]?.key).toBe(before[1]?.key);
});
