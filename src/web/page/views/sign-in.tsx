/** The page for people who are not signed in. */

import { useState } from 'preact/hooks'
import { Alert } from '../parts/basics.tsx'
import { Field } from '../parts/field.tsx'
import { Logo } from '../parts/logo.tsx'
import { CallError } from '../state/api.ts'
import { sessionError, signIn } from '../state/session.ts'

export function SignIn() {
  const [name, setName] = useState('')
  const [password, setPassword] = useState('')
  const [problem, setProblem] = useState<CallError | null>(sessionError.peek())
  const [busy, setBusy] = useState(false)
  const submit = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    setProblem(null)
    try {
      await signIn(name, password)
    } catch (error) {
      setProblem(error instanceof CallError ? error : new CallError(0, String(error)))
      setPassword('')
    }
    setBusy(false)
  }
  return (
    <main class="sign-in" id="main">
      <div class="sign-in-card">
        <Logo />
        <h1>Sign in</h1>
        {problem && (
          <Alert kind="bad" title={problem.message}>
            {problem.hint && <p>{problem.hint}</p>}
          </Alert>
        )}
        <form class="form" onSubmit={submit}>
          <Field label="Name" value={name} onValue={setName} autoComplete="username" required autoFocus />
          <Field
            label="Password"
            type="password"
            value={password}
            onValue={setPassword}
            autoComplete="current-password"
            required
          />
          <button type="submit" class="button primary large" disabled={busy}>
            {busy ? 'Signing in …' : 'Sign in'}
          </button>
        </form>
        <p class="quiet">
          No account yet? The command that serves this page prints a one-time link when it starts. Open it in this
          browser.
        </p>
      </div>
    </main>
  )
}
