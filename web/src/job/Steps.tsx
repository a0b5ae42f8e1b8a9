import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import type { Playbook } from '../api/types';
import { StatusLabel } from '../ui/StatusLabel';
import { Duration, Time } from '../ui/Time';

/** The playbooks of a job, in their order, with what became of them. */
export function Steps({ label, playbooks }: { label: string; playbooks: Playbook[] }) {
  return (
    <Table className="quell-table" aria-label={label} variant="compact" gridBreakPoint="grid-md">
      <Thead>
        <Tr>
          <Th width={25}>Playbook</Th>
          <Th modifier="nowrap">Status</Th>
          <Th modifier="nowrap">Start</Th>
          <Th modifier="nowrap">Duration</Th>
          <Th width={40}>Result</Th>
        </Tr>
      </Thead>
      <Tbody>
        {playbooks.map((playbook, index) => (
          <Tr key={`${index} ${playbook.playbook_uri}`}>
            <Td dataLabel="Playbook" modifier="breakWord">
              {playbook.playbook_uri}
            </Td>
            <Td dataLabel="Status">
              <StatusLabel status={playbook.status} />
            </Td>
            <Td dataLabel="Start">
              <Time at={playbook.started_at} />
            </Td>
            <Td dataLabel="Duration">
              <Duration from={playbook.started_at} to={playbook.ended_at} />
            </Td>
            <Td dataLabel="Result" modifier="breakWord">
              <Result playbook={playbook} />
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Result({ playbook }: { playbook: Playbook }) {
  const lines = resultOf(playbook);
  return lines.length === 0 ? <>–</> : lines.map((line) => <div key={line}>{line}</div>);
}

/** What a playbook's end has to say beyond its status. */
export function resultOf({ exit_code, signal, error, leftovers, leftover_count }: Playbook): string[] {
  const lines: string[] = [];
  if (error) {
    lines.push(error);
  }
  if (signal) {
    lines.push(`Ended by ${signal}`);
  } else if (exit_code !== null) {
    lines.push(`Exit code ${exit_code}`);
  }
  const count = Math.max(leftover_count, leftovers.length);
  if (count > 0) {
    const names = [...new Set(leftovers.map(({ command }) => command))].slice(0, 3).join(', ');
    lines.push(`${count === 1 ? 'A process was' : `${count} processes were`} left behind and killed${names ? `: ${names}` : ''}`);
  }
  return lines;
}
