/** Theme and password of the one who is signed in. */

import { useState } from 'preact/hooks'
import { Section } from '../../parts/basics.tsx'
import { Field, Segments } from '../../parts/field.tsx'
import { Icon } from '../../parts/icons.tsx'
import { changePassword, ROLES, session, signOut } from '../../state/session.ts'
import { type Theme, theme } from '../../state/theme.ts'
import { toast, toastError } from '../../state/toasts.ts'

export function Own() {
  const { user, role, how } = session.value!
  return (
    <>
      <Section title="You">
        <div class="card setting">
          <div>
            <strong>{user}</strong>
            <p class="quiet">
              {role}: {ROLES[role!]}
            </p>
          </div>
          <button type="button" class="button" onClick={() => signOut().catch(toastError)}>
            <Icon name="signout" /> Sign out
          </button>
        </div>
      </Section>
      <Section title="Theme">
        <div class="card setting">
          <p class="quiet">Kept in this browser.</p>
          <Segments
            label="Theme"
            value={theme.value}
            options={[
              { value: 'system', text: 'As the system' },
              { value: 'light', text: 'Light' },
              { value: 'dark', text: 'Dark' },
            ]}
            onValue={(value) => {
              theme.value = value as Theme
            }}
          />
        </div>
      </Section>
      <Section title="Password">
        <div class="card">
          {how === 'password' ? (
            <Password />
          ) : (
            <p class="quiet">
              {how === 'link'
                ? 'You came by a one-time link, so there is no password to change. Add an account for yourself among the people.'
                : 'The proxy before this page signs you in, so there is no password here.'}
            </p>
          )}
        </div>
      </Section>
    </>
  )
}

function Password() {
  const [old, setOld] = useState('')
  const [next, setNext] = useState('')
  const change = async (event: Event) => {
    event.preventDefault()
    try {
      await changePassword(old, next)
      toast('done', 'The password is changed, your other sessions have ended')
      setOld('')
      setNext('')
    } catch (error) {
      toastError(error)
    }
  }
  return (
    <form class="form narrow" onSubmit={change}>
      <Field
        label="Old password"
        type="password"
        value={old}
        onValue={setOld}
        autoComplete="current-password"
        required
      />
      <Field
        label="New password"
        type="password"
        value={next}
        onValue={setNext}
        autoComplete="new-password"
        required
        hint="Your other sessions end with the change."
      />
      <div>
        <button type="submit" class="button primary">
          Change password
        </button>
      </div>
    </form>
  )
}
