/**
 * The work on a page of detection, as the shell (main.js) knows it: joins the box editor to drafts, classes and dock.
 */

import { mount } from "boxes/editor"

/**
 * @param {HTMLElement} root #page
 * @param {{data: object, drafts: object, say: Function, announce: Function, hasLetters: () => boolean,
 *   lastBoxes: object[], onChange: () => void}} context
 */
export function mountBoxes(root, { data, drafts, say, announce, hasLetters, lastBoxes, onChange }) {
  const [item] = data.page.items
  const rows = [...root.querySelectorAll("[data-class]")]
  const draft = drafts.load(item.id)
  let skipped = [draft, item.answer].find((answer) => answer)?.skip ? (draft ?? item.answer) : null
  let isMissingShown = false
  let editor = null

  function paint() {
    const counts = new Map(Object.entries(Object.fromEntries(editor.counts())))
    for (const row of rows) row.querySelector(".n").textContent = counts.get(row.dataset.class) ?? 0
    onChange()
  }

  function changed(answer) {
    skipped = null
    isMissingShown = false
    if (!drafts.save(item.id, answer)) announce(say("no-storage"))
    if (editor) paint()
  }

  editor = mount(root.querySelector(".stage"), {
    item,
    classes: data.classes,
    imageUrl: item.image.large_url,
    fullUrl: item.image.full_url,
    lastBoxes,
    draft: draft?.boxes ? draft : null,
    onChange: changed,
    setCurrentClass(id) {
      for (const row of rows) row.setAttribute("aria-pressed", String(Number(row.dataset.class) === id))
    },
    announce,
    hotkeysEnabled: hasLetters,
  })
  const isComplete = () => Boolean(skipped) || editor.isComplete()
  const boxes = () => editor.answer()?.boxes ?? []
  const focus = () => (root.querySelector(".stage [tabindex='0']") ?? root.querySelector(".stage")).focus()
  queueMicrotask(paint)

  return {
    task: "boxes",
    isQuick: false,
    drafted: draft ? 1 : 0,
    answered: () => (isComplete() ? [item.id] : []),
    apply(id) {
      editor.setClass(id)
      paint()
      return "on"
    },
    payload: () => [{ id: item.id, ...(skipped ?? editor.answer()) }],
    missing: () => (isComplete() ? [] : [item.id]),
    showMissing() {
      isMissingShown = true
      focus()
      onChange()
      announce(say("need-boxes"))
    },
    focus,
    refocus: focus,
    skipCount: () => 1,
    skip(reason, note) {
      skipped = { skip: reason, note }
      drafts.save(item.id, skipped)
      onChange()
    },
    describe() {
      if (skipped) return say("skipped", { reason: say(`reason.${skipped.skip}`) })
      return boxes().length ? say("boxes", { n: boxes().length }) : say("no-objects")
    },
    undo: () => editor.undo() !== false,
    redo: () => editor.redo(),
    handleKey: (event) => editor.handleKey(event),
    act: () => false,
    status() {
      const submit = say(data.page.kind === "prelabeled" && data.page.mode === "label" ? "confirm-boxes" : "submit")
      if (isMissingShown && !isComplete()) return { isWarn: true, parts: [say("need-boxes")], submit }
      if (skipped) return { parts: [say("skipped", { reason: say(`reason.${skipped.skip}`) })], submit }
      const n = boxes().length
      const words = n || !isComplete() ? say("boxes", { n }) : say("no-objects")
      return { parts: drafts.load(item.id) ? [words, say("draft")] : [words], submit }
    },
    copyText: () => boxes().map((box) => {
      const { name } = data.classes.find((label) => label.id === box.label_class) ?? {}
      return `${item.image.path}\t${name}\t${box.box.join(" ")}`
    }),
    destroy: () => editor.destroy(),
  }
}
