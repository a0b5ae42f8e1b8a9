// The names of what the page asks the API for, as TanStack Query knows them.

export const jobsKey = ['jobs'] as const;
export const jobKeys = ['job'] as const;
export const jobKey = (id: string) => ['job', id] as const;
