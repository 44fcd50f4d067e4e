import assert from "node:assert/strict"
import test from "node:test"
import { createDrafts } from "../../static/js/labeler/answers.js"

function memory() {
  const kept = {}
  return Object.defineProperties(kept, {
    getItem: { value: (key) => kept[key] ?? null },
    setItem: { value: (key, value) => { kept[key] = value } },
    removeItem: { value: (key) => { delete kept[key] } },
  })
}

test("a draft comes back after a reload, and is gone once stored", () => {
  const storage = memory()
  createDrafts(storage, "me/1").save(5, { labels: [7] })
  const again = createDrafts(storage, "me/1")
  assert.deepEqual(again.load(5), { labels: [7] })
  again.remove([5])
  assert.equal(again.load(5), null)
})

test("another person's draft is not mine", () => {
  const storage = memory()
  createDrafts(storage, "me/1").save(5, { labels: [7] })
  assert.equal(createDrafts(storage, "you/1").load(5), null)
})

test("drafts that nobody came back for are forgotten after two weeks", () => {
  const storage = memory()
  createDrafts(storage, "me/1", () => 0).save(5, { labels: [7] })
  createDrafts(storage, "me/1", () => 15 * 86_400_000).prune()
  assert.equal(createDrafts(storage, "me/1").load(5), null)
})
