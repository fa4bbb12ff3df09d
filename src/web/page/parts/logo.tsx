/** The sign and the name. */

export function Logo() {
  return (
    <span class="logo">
      <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">
        <rect class="logo-back" width="32" height="32" rx="8" />
        <path d="M5 16h5m12 0h5" stroke="#fff" stroke-width="2.6" stroke-linecap="round" opacity="0.7" />
        <rect x="10" y="9.5" width="12" height="13" rx="3" fill="none" stroke="#fff" stroke-width="2.6" />
      </svg>
      vmapipe
    </span>
  )
}
