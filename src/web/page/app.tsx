/** The frame of all views: navigation, who is signed in, whether the page is live. */

import { useEffect, useRef } from 'preact/hooks'
import { Alert, Empty, Head } from './parts/basics.tsx'
import { closeDialog, DialogHost, dialogIsOpen } from './parts/dialog.tsx'
import { Icon, type IconName } from './parts/icons.tsx'
import { Logo } from './parts/logo.tsx'
import { Toasts } from './parts/toasts.tsx'
import { href, route } from './router.ts'
import { onKey, showHelp } from './shortcuts.tsx'
import { live } from './state/live.ts'
import { houseName, isOutdated, loadSession, session, sessionError } from './state/session.ts'
import { dark, theme } from './state/theme.ts'
import { Archive } from './views/archives/archive.tsx'
import { Archives } from './views/archives/archives.tsx'
import { Guest } from './views/guests/guest.tsx'
import { Guests } from './views/guests/guests.tsx'
import { Hosts } from './views/hosts.tsx'
import { Job } from './views/jobs/job.tsx'
import { Jobs } from './views/jobs/jobs.tsx'
import { Run } from './views/jobs/run.tsx'
import { Now } from './views/now/now.tsx'
import { Settings } from './views/settings/settings.tsx'
import { SignIn } from './views/sign-in.tsx'

interface Place {
  view: string
  text: string
  icon: IconName
  /** Views that belong to it. */
  also: string[]
}

const PLACES: Place[] = [
  { view: 'now', text: 'Now', icon: 'now', also: [] },
  { view: 'guests', text: 'Guests', icon: 'guests', also: ['guest'] },
  { view: 'archives', text: 'Archives', icon: 'archives', also: ['archive'] },
  { view: 'jobs', text: 'Jobs', icon: 'jobs', also: ['job', 'run'] },
  { view: 'hosts', text: 'Hosts', icon: 'hosts', also: [] },
  { view: 'settings', text: 'Settings', icon: 'settings', also: [] },
]

export function App() {
  const isSignedOut = session.value === null
  // What was asked for in a dialog cannot be done any more, and it would cover the form.
  useEffect(() => {
    if (isSignedOut) closeDialog()
  }, [isSignedOut])
  if (session.value === undefined) return <Starting />
  return (
    <>
      {isSignedOut ? <SignIn /> : <Frame />}
      <DialogHost />
      {!dialogIsOpen.value && <Toasts />}
    </>
  )
}

function Starting() {
  const error = sessionError.value
  if (error === null) return null
  return (
    <main class="sign-in">
      <div class="sign-in-card">
        <Logo />
        <Alert kind="bad" title={error.message}>
          {error.hint && <p>{error.hint}</p>}
        </Alert>
        <button type="button" class="button" onClick={() => loadSession()}>
          Try again
        </button>
      </div>
    </main>
  )
}

const ZONE = Intl.DateTimeFormat('en').resolvedOptions().timeZone

function Frame() {
  const { view, parts } = route.value
  const main = useRef<HTMLElement>(null)
  const address = `${view}/${parts.join('/')}`
  const shown = useRef(address)
  const hosts = session.value?.house?.abilities.hosts ?? false
  useEffect(() => {
    if (shown.current === address) return
    shown.current = address
    closeDialog()
    scrollTo(0, 0)
    // Screen readers begin at the head of the new view.
    main.current?.querySelector<HTMLElement>('h1')?.focus({ preventScroll: true })
  }, [address])
  useEffect(() => {
    const listener = (event: KeyboardEvent) => onKey(event, hosts)
    addEventListener('keydown', listener)
    return () => removeEventListener('keydown', listener)
  }, [hosts])
  const skip = () => main.current?.querySelector<HTMLElement>('h1')?.focus()
  return (
    <div class="frame">
      <button type="button" class="skip" onClick={skip}>
        Skip to the content
      </button>
      <Side view={view} hosts={hosts} />
      <main id="main" ref={main}>
        {live.value === 'lost' && (
          <p class="not-live" role="status">
            <Icon name="offline" size={14} /> Not live: the connection to the server is lost. It is tried again.
          </p>
        )}
        {isOutdated.value && (
          <p class="not-live" role="status">
            <Icon name="info" size={14} /> vmapipe was updated on the server: this page is of the version before.
            <button type="button" class="link" onClick={() => location.reload()}>
              Load it again
            </button>
          </p>
        )}
        <View key={address} view={view} parts={parts} hosts={hosts} />
        <p class="foot">Times are in {ZONE}; schedules are in the zone of their host.</p>
      </main>
    </div>
  )
}

function View({ view, parts, hosts }: { view: string; parts: string[]; hosts: boolean }) {
  const [first = '', second = '', third = ''] = parts
  if (view === 'now') return <Now />
  if (view === 'guests') return <Guests />
  if (view === 'guest') return <Guest host={first} guest={second} />
  if (view === 'archives') return <Archives />
  if (view === 'archive') return <Archive host={first} id={second} />
  if (view === 'jobs') return <Jobs />
  if (view === 'job') return <Job host={first} job={second} />
  if (view === 'run') return <Run host={first} job={second} run={third} />
  if (view === 'hosts' && hosts) return <Hosts />
  if (view === 'settings') return <Settings tab={first} />
  return (
    <>
      <Head title="Not here" />
      <Empty icon="help" title="There is no such view">
        <p>
          <a href={href('now')}>See what happens now</a>
        </p>
      </Empty>
    </>
  )
}

function Side({ view, hosts }: { view: string; hosts: boolean }) {
  const places = PLACES.filter((place) => hosts || place.view !== 'hosts')
  const { user, role } = session.value!
  return (
    <header class="side">
      <a class="brand" href={href('now')}>
        <Logo />
        <span class="house" title={houseName.value}>
          {houseName.value}
        </span>
      </a>
      <nav aria-label="Views">
        <ul>
          {places.map(({ view: to, text, icon, also }) => (
            <li key={to}>
              <a href={href(to)} aria-current={view === to || also.includes(view) ? 'page' : undefined}>
                <Icon name={icon} />
                <span>{text}</span>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div class="side-end">
        <LiveState />
        <div class="side-tools">
          <button
            type="button"
            class="button ghost icon-only"
            aria-label={dark.value ? 'Light theme' : 'Dark theme'}
            title={dark.value ? 'Light theme' : 'Dark theme'}
            onClick={() => {
              theme.value = dark.value ? 'light' : 'dark'
            }}
          >
            <Icon name={dark.value ? 'sun' : 'moon'} />
          </button>
          <button
            type="button"
            class="button ghost icon-only help-button"
            aria-label="Keyboard shortcuts"
            title="Keyboard shortcuts"
            onClick={() => showHelp(hosts)}
          >
            <Icon name="help" />
          </button>
          <a class="who" href={href('settings', ['own'])} title={`${user}, ${role}`}>
            <Icon name="user" />
            <span class="clip">{user}</span>
          </a>
        </div>
      </div>
    </header>
  )
}

function LiveState() {
  const words = { live: 'Live', connecting: 'Connecting', lost: 'Not live' }
  return (
    <span
      class={`live ${live.value}`}
      title={`${words[live.value]}: changes ${live.value === 'live' ? 'appear at once' : 'do not appear yet'}`}
    >
      {live.value === 'lost' ? <Icon name="offline" size={12} /> : <i aria-hidden="true" />}
      {words[live.value]}
    </span>
  )
}
