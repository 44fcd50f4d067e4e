import assert from "node:assert/strict"
import test from "node:test"
import { actionOf } from "../../static/js/labeler/hotkeys.js"

const key = (name, more = {}) => ({ key: name, code: "", ...more })

test("digits choose classes, on the number pad and behind Shift layouts too", () => {
  assert.deepEqual(actionOf(key("3"), { task: "grid" }), { name: "class", digit: 3 })
  assert.deepEqual(actionOf(key("ç", { code: "Digit9" }), { task: "grid" }), { name: "class", digit: 9 })
})

test("letters do nothing when they are switched off, but with Alt", () => {
  assert.equal(actionOf(key("s"), { task: "grid", hasLetters: false }), null)
  assert.deepEqual(actionOf(key("s", { altKey: true }), { task: "grid", hasLetters: false }), { name: "skip" })
})

test("Ctrl Z undoes and AltGr types", () => {
  assert.deepEqual(actionOf(key("z", { ctrlKey: true }), { task: "boxes" }), { name: "undo" })
  assert.equal(actionOf(key("z", { ctrlKey: true, altKey: true }), { task: "boxes" }), null)
})

test("arrows move between the images of a grid only", () => {
  assert.deepEqual(actionOf(key("ArrowLeft"), { task: "grid" }), { name: "go", direction: "left", extend: undefined })
  assert.equal(actionOf(key("ArrowLeft"), { task: "boxes" }), null)
})
