/**
 * What refreshes by itself keeps its nodes: htmx's swap "live" changes texts and attributes in place, so that nothing
 * flickers, and focus, scrolling, open details and ticks stay. Nothing is asked while nobody can see it.
 */

const KEPT = { DETAILS: ["open"], INPUT: ["checked", "value"], OPTION: ["selected"], DIALOG: ["open"] }

/** Make `old` equal to `fresh`, keeping the nodes of `old` where they are of the same kind; ids tell who is who. */
export function morph(old, fresh) {
  if (old.nodeType !== 1) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue
    return
  }
  const kept = KEPT[old.tagName] ?? []
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value && !kept.includes(name)) old.setAttribute(name, value)
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "style" && !kept.includes(name)) old.removeAttribute(name)
  }
  morphChildren(old, fresh)
}

const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id ?? "") === (b.id ?? "")

function morphChildren(old, fresh) {
  const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]))
  let place = old.firstChild
  for (const next of [...fresh.childNodes]) {
    const own = next.id && named.get(next.id)
    if (own && own !== place) old.insertBefore(own, place)
    if (own) place = own
    if (place && alike(place, next)) {
      morph(place, next)
      place = place.nextSibling
    } else {
      old.insertBefore(next, place)
    }
  }
  while (place) {
    const gone = place
    place = place.nextSibling
    gone.remove()
  }
}

/** A class's own colour, chosen by a manager: the policy allows it through the style object only. */
export function paintColors(root = document) {
  for (const dot of root.querySelectorAll('[data-color^="#"]')) {
    const owner = dot.closest(".ls-dist, .chip, .cls, .ls-box") ?? dot
    owner.style.setProperty("--c", dot.dataset.color)
    owner.style.setProperty("--on", isLight(dot.dataset.color) ? "#111" : "#fff")
  }
}

function isLight(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16))
  return red * 0.299 + green * 0.587 + blue * 0.114 > 140
}

document.addEventListener("DOMContentLoaded", () => {
  window.htmx.defineExtension("live", {
    isInlineSwap: (style) => style === "live",
    handleSwap(style, target, fragment) {
      if (style !== "live") return false
      morph(target, fragment.firstElementChild)
      return [target]
    },
  })
  paintColors()
})

document.addEventListener("htmx:afterSettle", () => paintColors())
document.addEventListener("htmx:beforeRequest", (event) => {
  const isByItself = event.detail.elt.getAttribute("hx-swap") === "live" && !event.detail.requestConfig.triggeringEvent
  if (document.hidden && isByItself) event.preventDefault()
})
