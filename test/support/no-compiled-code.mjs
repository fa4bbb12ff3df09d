// Loaded first (node --import): no package finds its compiled code, as after `npm ci --omit=optional` or in a noexec folder.
process.dlopen = () => {
  throw new Error('no compiled code here')
}
