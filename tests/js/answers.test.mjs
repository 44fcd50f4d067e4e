import assert from "node:assert/strict"
import test from "node:test"
import { createAnswers } from "../../static/js/labeler/answers.js"

const items = [
  { id: 1, answer: null, prelabels: [] },
  { id: 2, answer: null, prelabels: [{ label_class: 7, confidence: 0.9 }] },
]

test("multi-class replaces, and a second press takes it off", () => {
  const answers = createAnswers(items, { classes: [7, 8], isMulti: false })
  answers.toggle([1], 7)
  answers.toggle([1], 8)
  assert.deepEqual(answers.labels(1), [8])
  answers.toggle([1], 8)
  assert.equal(answers.isComplete(1), false)
})

test("multi-label adds to all when only some have the class", () => {
  const answers = createAnswers(items, { classes: [7, 8], isMulti: true })
  answers.toggle([1], 8)
  assert.equal(answers.pressed([1, 2], 8), "mixed")
  answers.toggle([1, 2], 8)
  assert.deepEqual(answers.labels(2), [7, 8])
})

test("a suggestion that nobody touched is confirmed by submitting", () => {
  const answers = createAnswers(items, { classes: [7, 8], isMulti: false })
  answers.toggle([1], 8)
  assert.deepEqual(answers.payload(), [{ id: 1, labels: [8] }, { id: 2, labels: [7] }])
  assert.equal(answers.summary().suggested, 1)
})

test("undo and redo go back and forth, and say what changed", () => {
  const answers = createAnswers(items, { classes: [7, 8], isMulti: false })
  answers.skip([1, 2], "unclear")
  assert.deepEqual(answers.undo(), [1, 2])
  assert.equal(answers.answer(1), null)
  answers.redo()
  assert.deepEqual(answers.answer(2), { skip: "unclear", note: "" })
})
