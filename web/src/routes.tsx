import { Navigate, type RouteObject } from 'react-router';
import { Layout } from './layout/Layout';
import { NotFound } from './layout/NotFound';
import { PageFault } from './layout/PageFault';

// Each page is a chunk of its own.
export const routes: RouteObject[] = [
  {
    path: '/',
    element: <Layout />,
    hydrateFallbackElement: <></>,
    errorElement: <PageFault />,
    children: [
      {
        errorElement: <PageFault />,
        children: [
          { index: true, element: <Navigate to="/jobs" replace /> },
          { path: 'jobs', lazy: async () => ({ Component: (await import('./jobs/JobsPage')).JobsPage }) },
          { path: 'jobs/:id', lazy: async () => ({ Component: (await import('./job/JobPage')).JobPage }) },
          { path: '*', element: <NotFound /> },
        ],
      },
    ],
  },
];
