/**
 * The drawing of the boxes: an SVG in image pixels for picture and boxes, and one in screen pixels above it for what
 * keeps its size at any zoom (tags, grips, cross-hair). Only what changed is touched.
 */

import { HANDLES, handlePoint } from "boxes/geometry"
import { paintColor } from "labeler/sheet"

const TAGS_FOR_ALL = 8
const MANY = 300 // boxes; then without halos, so that zooming stays smooth
const TAG_HEIGHT = 18

export function svg(tag, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  return made
}

/** Give an element the colour of a class. */
export function colour(element, label) {
  element.classList.remove(...[...element.classList].filter((name) => /^c\d+$/.test(name)))
  element.dataset.color = label?.color ?? ""
  if (label?.color.startsWith("#")) paintColor(element)
  else if (label) element.classList.add(label.color)
}

export function createCanvas(stage, { image, classes, url, viewport }) {
  const labelOf = new Map(classes.map((label) => [label.id, label]))
  const picture = svg("svg", { class: "picture", "aria-hidden": "true", preserveAspectRatio: "none" })
  const photo = svg("image", { href: url, width: image.width, height: image.height, preserveAspectRatio: "none" })
  const layer = svg("g", { class: "boxes" })
  const draft = svg("rect", { class: "bx-draft", visibility: "hidden" })
  picture.append(photo, layer, draft)
  const overlay = svg("svg", { class: "overlay", "aria-hidden": "true" })
  const cross = svg("g", { class: "cross", visibility: "hidden" })
  const lines = [svg("line"), svg("line")]
  cross.append(...lines)
  const tags = svg("g")
  const grips = svg("g", { class: "grips" })
  overlay.append(tags, grips, cross)
  stage.prepend(picture, overlay)
  const nodes = new Map()
  let view = ""
  let culled = null // the boxes and the view that were last told apart by sight

  function place(node, [x, y, width, height]) {
    for (const rect of node.children) {
      rect.setAttribute("x", x)
      rect.setAttribute("y", y)
      rect.setAttribute("width", width)
      rect.setAttribute("height", height)
    }
  }

  function nodeOf(entry) {
    let node = nodes.get(entry.id)
    if (!node) {
      node = svg("g", { class: "bx", "data-id": entry.id })
      node.append(svg("rect", { class: "halo" }), svg("rect", { class: "edge" }))
      nodes.set(entry.id, node)
      layer.append(node)
    }
    return node
  }

  function paintTag(entry) {
    const label = labelOf.get(entry.label_class)
    const words = `${label?.name ?? ""}${entry.hint == null ? "" : ` ${Math.round(entry.hint * 100)}%`}`
    const shown = words.length > 40 ? `${words.slice(0, 39)}…` : words
    const { x, y } = viewport.toScreen({ x: entry.box[0], y: entry.box[1] })
    const top = y >= TAG_HEIGHT ? y - TAG_HEIGHT : y
    const tag = svg("g", { class: `bx bx-tag${entry.isHint ? " is-hint" : ""}` })
    colour(tag, label)
    const text = svg("text", { x: x + 5, y: top + 13 })
    text.textContent = shown
    const ground = svg("rect", { class: "tag", x, y: top, height: TAG_HEIGHT, rx: 3 })
    tag.append(ground, text)
    tags.append(tag)
    return { ground, text }
  }

  return {
    /** Draw the boxes; nodes of boxes that stayed as they were are left alone. */
    paint(entries, selected) {
      layer.classList.toggle("many", entries.length > MANY)
      const present = new Set(entries.map((entry) => entry.id))
      for (const [id, node] of nodes) {
        if (present.has(id)) continue
        node.remove()
        nodes.delete(id)
      }
      for (const entry of entries) {
        const node = nodeOf(entry)
        if (node.entry !== entry) {
          node.entry = entry
          place(node, entry.box)
          colour(node, labelOf.get(entry.label_class))
          node.classList.toggle("is-hint", Boolean(entry.isHint))
        }
        node.classList.toggle("is-on", entry.id === selected)
      }
    },
    /** While a box is dragged only its node moves. */
    placeOne(id, box) {
      place(nodes.get(id), box)
    },
    /** Draw tags and grips, whose places depend on the view. */
    paintOverlay(entries, { selected, hovered, isHidden }) {
      tags.replaceChildren()
      grips.replaceChildren()
      if (isHidden) return
      const tagged = entries.length <= TAGS_FOR_ALL ? entries : entries.filter(({ id }) => id === selected || id === hovered)
      const sees = viewport.sight()
      const painted = tagged.filter(({ box }) => sees(box)).map(paintTag)
      // All are measured after all are written: one layout, not one for each.
      const widths = painted.map(({ text }) => text.getComputedTextLength() + 10)
      painted.forEach(({ ground }, index) => ground.setAttribute("width", widths[index]))
      const active = entries.find(({ id }) => id === selected)
      if (!active) return
      for (const handle of HANDLES) {
        const { x, y } = viewport.toScreen(handlePoint(active.box, handle))
        grips.append(svg("rect", { class: "grip", "data-handle": handle, x: x - 3.5, y: y - 3.5, width: 7, height: 7 }))
      }
    },
    /** Show the part of the image that the viewport tells; the same part again costs nothing. */
    paintView() {
      const part = viewport.viewBox()
      if (part === view) return
      view = part
      picture.setAttribute("viewBox", part)
    },
    /** Take boxes out of the drawing that are out of sight. */
    cull(entries) {
      if (culled?.entries === entries && culled.view === view) return
      culled = { entries, view }
      const sees = viewport.sight()
      for (const entry of entries) {
        const node = nodes.get(entry.id)
        const isSeen = sees(entry.box)
        if (node.isSeen === isSeen) continue
        node.isSeen = isSeen
        node.style.display = isSeen ? "" : "none"
      }
    },
    /** The unfinished box, or none. */
    paintDraft(box, label) {
      draft.setAttribute("visibility", box ? "visible" : "hidden")
      if (!box) return
      colour(draft, label)
      const [x, y, width, height] = box
      for (const [name, value] of Object.entries({ x, y, width, height })) draft.setAttribute(name, value)
    },
    paintCross(at, size) {
      cross.setAttribute("visibility", at ? "visible" : "hidden")
      if (!at) return
      const ends = [[0, at.y, size.width, at.y], [at.x, 0, at.x, size.height]]
      lines.forEach((line, index) => {
        ["x1", "y1", "x2", "y2"].forEach((name, end) => line.setAttribute(name, ends[index][end]))
      })
    },
    hide(isIt) {
      layer.setAttribute("visibility", isIt ? "hidden" : "visible")
    },
    setPicture(href) {
      photo.setAttribute("href", href)
    },
    light(brightness, contrast) {
      photo.style.filter = brightness === 100 && contrast === 100 ? "" : `brightness(${brightness}%) contrast(${contrast}%)`
    },
    destroy() {
      picture.remove()
      overlay.remove()
    },
  }
}
