/** Begins the page. */

import './parts/visible-text.ts'
import './state/theme.ts'
import { render } from 'preact'
import { App } from './app.tsx'
import { loadSession } from './state/session.ts'

loadSession()
render(<App />, document.getElementById('app')!)
