/**
 * The versions of our tables, the oldest first. A version that was released is never changed: what comes later is a new one. `oldest` is the
 * oldest version of the program that still works with the tables as they are then, as it uses nothing that they changed.
 */

export interface SchemaVersion {
  version: number
  oldest: number
  sql: string
}

export const VERSIONS: readonly SchemaVersion[] = [
  {
    version: 1,
    oldest: 1,
    sql: `
create table vmapipe.hosts (
  host text primary key,
  labels text[] not null default '{}',
  zone text,
  parallel integer,
  version text,
  incarnation text,
  drained boolean not null default false,
  seen timestamptz,
  created timestamptz not null default now()
);

create table vmapipe.tokens (
  id text primary key,
  name text not null,
  kind text not null check (kind in ('agent', 'person')),
  guests text[] not null default '{}',
  hash bytea not null unique,
  created timestamptz not null,
  used timestamptz,
  revoked timestamptz
);

create table vmapipe.inventories (
  host text primary key references vmapipe.hosts on delete cascade,
  at timestamptz not null,
  content json not null
);

create table vmapipe.guests (
  guest text primary key,
  host text not null,
  identity text,
  last_good timestamptz,
  claimed timestamptz not null
);

create table vmapipe.central_jobs (
  name text primary key,
  content text not null,
  digest text not null,
  labels text[] not null,
  changed timestamptz not null
);

create table vmapipe.works (
  id text primary key,
  kind text not null,
  host text not null,
  job text,
  guest text,
  due timestamptz not null,
  state text not null check (state in ('waiting', 'sent', 'running', 'done', 'failed', 'canceled', 'lost')),
  attempt integer not null default 0,
  not_before timestamptz,
  began timestamptz,
  ended timestamptz,
  incarnation text,
  reason text,
  asked json not null,
  report json
);
create index works_open on vmapipe.works (state) where state in ('waiting', 'sent', 'running');
create index works_due on vmapipe.works (due);

create table vmapipe.archives (
  host text not null,
  place text not null,
  guest text not null,
  job text not null,
  at timestamptz not null,
  content json not null,
  primary key (host, place, guest)
);
`,
  },
  {
    // Looking at one guest or one host of a year's history takes no scan; a planner that takes over counts up the turn, so that one before it
    // that has not noticed yet writes nothing more.
    version: 2,
    oldest: 1,
    sql: `
create index works_guest on vmapipe.works (guest, due);
create index works_host on vmapipe.works (host, due);
create index archives_guest on vmapipe.archives (guest);
create table vmapipe.turns (turn integer not null, since timestamptz not null);
insert into vmapipe.turns values (0, now());
`,
  },
  {
    // Who is signed in to the page stays so over a restart.
    version: 3,
    oldest: 1,
    sql: `
create table vmapipe.page_sessions (hash text primary key, expires timestamptz not null, content json not null);
`,
  },
  {
    // How many backups a host has brought in the last day is known after a restart. Of works that were there before nothing is known.
    version: 4,
    oldest: 1,
    sql: `
alter table vmapipe.works add column written timestamptz;
alter table vmapipe.works alter column written set default now();
create index works_written on vmapipe.works (written) where written is not null;
`,
  },
]

export const NEWEST = VERSIONS[VERSIONS.length - 1].version
