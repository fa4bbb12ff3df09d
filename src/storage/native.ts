/** What is there on some systems only: it is loaded when it is first wanted, and null for good where it cannot be. */
export function native<Calls>(load: () => Calls): () => Calls | null {
  let loaded: Calls | null | undefined
  return () => {
    if (loaded === undefined) {
      try {
        loaded = load()
      } catch {
        loaded = null
      }
    }
    return loaded
  }
}
