import assert from "node:assert/strict"
import test from "node:test"
import { centred, createHistory, fromCorners, isTooSmall, moved, resized, smallestAt } from "../../static/js/boxes/geometry.js"
import { createViewport } from "../../static/js/boxes/viewport.js"

const image = { width: 100, height: 80 }

test("corners in any order make the same box, cut at the edge", () => {
  assert.deepEqual(fromCorners({ x: 90, y: 70 }, { x: -5, y: 20 }, image), [0, 20, 90, 50])
})

test("a moved box stays in the image and keeps its size", () => {
  assert.deepEqual(moved([90, 70, 10, 10], 50, -200, image), [90, 0, 10, 10])
})

test("an edge may cross the other, and never makes the box too small", () => {
  assert.deepEqual(resized([20, 20, 30, 30], "w", { x: 80, y: 0 }, image), [50, 20, 30, 30])
  for (let x = -10; x <= 110; x += 1) {
    const box = resized([97, 20, 3, 30], "w", { x, y: 0 }, image)
    assert.ok(!isTooSmall(box) && box[0] >= 0 && box[0] + box[2] <= 100, `${box}`)
  }
})

test("the smallest box at a point is found", () => {
  const boxes = [{ id: 1, box: [0, 0, 50, 50] }, { id: 2, box: [10, 10, 5, 5] }]
  assert.equal(smallestAt(boxes, { x: 12, y: 12 }).id, 2)
  assert.equal(smallestAt(boxes, { x: 40, y: 40 }).id, 1)
  assert.equal(smallestAt(boxes, { x: 99, y: 40 }), null)
})

test("a template box larger than the image fits it", () => {
  assert.deepEqual(centred({ x: 5, y: 5 }, [500, 20], image), [0, 0, 100, 20])
})

test("history goes back and forth, and a change forgets the future", () => {
  const history = createHistory(1)
  history.set(2)
  history.undo()
  history.set(3)
  assert.equal(history.redo(), false)
  assert.equal(history.now(), 3)
})

test("zooming keeps the image pixel under the pointer", () => {
  const viewport = createViewport({ width: 6000, height: 4000 }, () => ({ width: 900, height: 700 }))
  const at = { x: 300, y: 200 }
  const before = viewport.toImage(at)
  viewport.zoomAt(7, at)
  const after = viewport.toImage(at)
  assert.ok(Math.abs(before.x - after.x) < 1e-6 && Math.abs(before.y - after.y) < 1e-6)
})
