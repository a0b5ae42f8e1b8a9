import {
  Button,
  EmptyState,
  EmptyStateBody,
  Flex,
  PageSection,
  Progress,
  ProgressMeasureLocation,
  Spinner,
  Title,
} from '@patternfly/react-core';
import CubesIcon from '@patternfly/react-icons/dist/esm/icons/cubes-icon';
import ExclamationTriangleIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-triangle-icon';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useEffect } from 'react';
import { Link } from 'react-router';
import { AbortButton } from '../abort/AbortButton';
import { abortNote } from '../abort/state';
import { useJobs } from '../api/jobs';
import type { JobSummary } from '../api/types';
import { CopyId } from '../ui/CopyId';
import { QueryError } from '../ui/ErrorAlert';
import { nameOf } from '../ui/format';
import { StatusLabel } from '../ui/StatusLabel';
import { Duration, Time } from '../ui/Time';

/** All jobs, newest first, as they change. */
export function JobsPage() {
  useEffect(() => {
    document.title = 'Jobs · Quell';
  }, []);
  const { data, error, isPending, hasNextPage, fetchNextPage, isFetchingNextPage } = useJobs();
  const jobs = data?.pages.flatMap((page) => page.jobs) ?? [];
  return (
    <>
      <PageSection isFilled={false}>
        <Title headingLevel="h1">Jobs</Title>
      </PageSection>
      <PageSection isFilled aria-label="Jobs">
        <QueryError what="The jobs" error={error} hasData={data !== undefined} />
        {isPending && !error && <Spinner aria-label="The jobs are being read" />}
        {data && jobs.length === 0 && (
          <EmptyState headingLevel="h2" titleText="No jobs yet" icon={CubesIcon}>
            <EmptyStateBody>Jobs show up here as soon as somebody starts one.</EmptyStateBody>
          </EmptyState>
        )}
        {jobs.length > 0 && <JobTable jobs={jobs} />}
        {hasNextPage && (
          <Flex justifyContent={{ default: 'justifyContentCenter' }}>
            <Button variant="link" onClick={() => fetchNextPage()} isLoading={isFetchingNextPage} isDisabled={isFetchingNextPage}>
              Show older jobs
            </Button>
          </Flex>
        )}
      </PageSection>
    </>
  );
}

function JobTable({ jobs }: { jobs: JobSummary[] }) {
  return (
    <Table className="quell-table" aria-label="Jobs" variant="compact" gridBreakPoint="grid-lg">
      <Thead>
        <Tr>
          <Th>Description</Th>
          <Th modifier="nowrap">Status</Th>
          <Th modifier="nowrap">Execution id</Th>
          <Th>Node</Th>
          <Th>Requester</Th>
          <Th>Progress</Th>
          <Th modifier="nowrap">Start</Th>
          <Th modifier="nowrap">Duration</Th>
          <Th screenReaderText="Abort" />
        </Tr>
      </Thead>
      <Tbody>
        {jobs.map((job) => (
          <JobRow key={job.job_execution_id} job={job} />
        ))}
      </Tbody>
    </Table>
  );
}

function JobRow({ job }: { job: JobSummary }) {
  const note = abortNote(job);
  return (
    <Tr>
      <Td dataLabel="Description" modifier="breakWord" width={20}>
        <Link to={`/jobs/${job.job_execution_id}`}>{nameOf(job)}</Link>
        {job.description && <div className="quell-quiet">{job.display_name}</div>}
      </Td>
      <Td dataLabel="Status">
        <div className="quell-status">
          <StatusLabel status={job.status} />
          {note && <div className="quell-quiet">{note}</div>}
        </div>
      </Td>
      <Td dataLabel="Execution id">
        <CopyId id={job.job_execution_id} />
      </Td>
      <Td dataLabel="Node" modifier="breakWord">
        <Node job={job} />
      </Td>
      <Td dataLabel="Requester" modifier="breakWord">
        {job.requester || '–'}
      </Td>
      <Td dataLabel="Progress" width={15}>
        <JobProgress job={job} />
      </Td>
      <Td dataLabel="Start">
        <Time at={job.started_at} />
      </Td>
      <Td dataLabel="Duration">
        <Duration from={job.started_at} to={job.ended_at} />
      </Td>
      <Td isActionCell><AbortButton job={job} size="sm" /></Td>
    </Tr>
  );
}

function Node({ job }: { job: JobSummary }) {
  if (!job.unreachable_since) {
    return <>{job.node || '–'}</>;
  }
  return (
    <>
      {job.node}
      <div className="quell-quiet">
        <ExclamationTriangleIcon /> out of reach since <Time at={job.unreachable_since} />
      </div>
    </>
  );
}

function JobProgress({ job }: { job: JobSummary }) {
  return (
    <Progress
      id={`progress-${job.job_execution_id}`}
      aria-label={`Progress of ${nameOf(job)}`}
      value={Math.round(job.percentage_completed)}
      measureLocation={ProgressMeasureLocation.outside}
      size="sm"
    />
  );
}
