/** A command to be copied. */

import { useState } from 'preact/hooks'
import { Icon } from './icons.tsx'

export function Command({ text, label = 'Command' }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false)
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text)
    } catch {
      // Without HTTPS browsers have no clipboard for pages: the text is selected instead.
      const code = document.getElementById('command-text')
      if (code) getSelection()?.selectAllChildren(code)
      if (!document.execCommand('copy')) return
    }
    setCopied(true)
    setTimeout(() => setCopied(false), 2000)
  }
  return (
    <div class="command">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: long commands are scrolled, with the keyboard too */}
      <section aria-label={label} tabIndex={0}>
        <code id="command-text">{text}</code>
      </section>
      <button type="button" class="button small" onClick={copy}>
        <Icon name={copied ? 'check' : 'copy'} size={14} />
        <span aria-live="polite">{copied ? 'Copied' : 'Copy'}</span>
      </button>
    </div>
  )
}
