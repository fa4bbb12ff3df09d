/** What is about oneself: theme, password, sessions; and for those who administer: people and the audit log. */

import { Head } from '../../parts/basics.tsx'
import { href } from '../../router.ts'
import { may, session } from '../../state/session.ts'
import { Audit } from './audit.tsx'
import { Own } from './own.tsx'
import { People } from './people.tsx'
import { Sessions } from './sessions.tsx'

const TABS = [
  { key: 'own', text: 'You', role: 'look' },
  { key: 'sessions', text: 'Sessions', role: 'look' },
  { key: 'people', text: 'People', role: 'administer' },
  { key: 'audit', text: 'Audit log', role: 'administer' },
] as const

export function Settings({ tab }: { tab: string }) {
  const tabs = TABS.filter(({ role }) => may(role))
  const current = tabs.find(({ key }) => key === tab)?.key ?? 'own'
  return (
    <>
      <Head title="Settings" about={`vmapipe ${session.value?.version ?? ''}`} />
      <nav class="tabs" aria-label="Settings">
        {tabs.map(({ key, text }) => (
          <a key={key} href={href('settings', [key])} aria-current={key === current ? 'page' : undefined}>
            {text}
          </a>
        ))}
      </nav>
      {current === 'own' && <Own />}
      {current === 'sessions' && <Sessions />}
      {current === 'people' && <People />}
      {current === 'audit' && <Audit />}
    </>
  )
}
