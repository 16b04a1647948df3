// Prints what the tests of HTTP caches say of themselves, as JSON: of each its kind and the tests that it depends on.
// The only argument is the package's folder.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const suites = async name => (await import(pathToFileURL(join(process.argv[2], 'tests', name)))).default
const all = [...await suites('index.mjs'), await suites('surrogate-control.mjs')]
const kinds = {}
for (const test of all.flatMap(suite => suite.tests)) {
  if (!test.browser_only) {
    kinds[test.id] = { kind: test.kind ?? 'required', depends_on: test.depends_on ?? [] }
  }
}
console.log(JSON.stringify(kinds))
