/**
 * The work on a page of classification, as the shell (main.js) knows it: what the labeler's actions do to the answers.
 */

import { createAnswers } from "labeler/answers"
import { mountSheet } from "labeler/sheet"

/**
 * @param {HTMLElement} root #page
 * @param {{data: object, drafts: object, say: Function, announce: Function, icon: Function,
 *   openCloser: (id: number) => Promise<object>, onChange: () => void}} context
 */
export function mountGrid(root, { data, drafts, say, announce, icon, openCloser, onChange }) {
  const { page, classes, project } = data
  const isOne = page.layout === 1
  const isMulti = project.task_type === "multilabel"
  const answers = createAnswers(page.items, { classes: classes.map((label) => label.id), isMulti })
  const drafted = page.items.map((item) => item.id).filter((id) => drafts.load(id))
  for (const id of drafted) answers.restore(id, drafts.load(id))
  const nameOf = new Map(classes.map((label) => [label.id, label.name]))
  const stood = new Map(page.items.map((item) => [item.id, item.answer]))
  const rows = [...root.querySelectorAll("[data-class]")]
  const pickedText = root.querySelector("[data-picked]")
  let closer = null // {id, destroy, act, repaint} while looking closer
  let isMissingShown = false

  const sheet = mountSheet(root, {
    answers,
    classes,
    isMulti,
    isOne,
    say,
    icon,
    onPick: paint,
    onCloser: look,
    onChip: (id, label) => {
      const way = isMulti ? answers.toggle([id], label) : (answers.toggle([id], label), "on")
      changed([id], say(`put-${way}`, { label: nameOf.get(label), n: 1, at: placeOf(id) }))
    },
  })
  const placeOf = (id) => answers.ids.indexOf(id) + 1
  const targets = () => (closer ? [closer.id] : sheet.targets())
  const targetsOfPress = () => (closer ? [closer.id] : sheet.targetsOfPress())

  function paint() {
    sheet.paint()
    const counts = answers.counts()
    const shown = targets()
    for (const row of rows) {
      const label = Number(row.dataset.class)
      row.setAttribute("aria-pressed", answers.pressed(shown, label))
      row.querySelector(".n").textContent = counts.get(label) || ""
    }
    if (pickedText) {
      const n = sheet.selection.isLive() ? sheet.selection.picked().length : 0
      pickedText.textContent = say("picked", { n })
    }
    closer?.repaint()
    onChange()
  }

  /** Keep what changed as a draft, show it and say it. */
  function changed(ids, words) {
    let isKept = true
    for (const id of ids) isKept = drafts.save(id, draftOf(id)) && isKept
    isMissingShown = false
    paint()
    announce(isKept ? words : say("no-storage"))
  }

  function draftOf(id) {
    const answer = answers.answer(id) ?? (stood.get(id) ? { labels: [] } : null)
    return JSON.stringify(answer) === JSON.stringify(stood.get(id)) ? null : answer
  }

  function apply(label, isPress) {
    const ids = isPress ? targetsOfPress() : targets()
    // One image of one class: a digit answers, whatever stood there.
    const way = isOne && !isMulti && answers.labels(ids[0]).includes(label) ? "on" : answers.toggle(ids, label)
    if (!closer) sheet.selection.spend()
    changed(ids, say(`put-${way}`, { label: nameOf.get(label), n: ids.length, at: placeOf(ids[0]) }))
    return way
  }

  async function look(id) {
    closer?.destroy()
    closer = null
    const opened = await openCloser(id, {
      tile: sheet.tileOf(id),
      onClose: () => {
        closer = null
        sheet.focus(id)
        paint()
      },
      onBeside: (step) => {
        const next = answers.ids[answers.ids.indexOf(id) + step]
        if (next === undefined) return
        sheet.focus(next, { isQuiet: true })
        look(next)
      },
    })
    closer = { ...opened, id }
    announce(`${sheet.tileOf(id).getAttribute("aria-label")}. ${say("closer")}`)
    paint()
  }

  function step(ids, words) {
    if (!ids) return false
    changed(ids, words)
    if (ids.length && !closer) sheet.focus(ids[0])
    return true
  }

  const acts = {
    go: ({ direction, extend }) => {
      if (closer) closer.act({ name: "go", direction })
      else sheet.go(direction, extend)
    },
    first: () => { sheet.focus(answers.ids[0]); sheet.selection.move(); paint() },
    last: () => { sheet.focus(answers.ids.at(-1)); sheet.selection.move(); paint() },
    pick: () => { sheet.selection.toggle(sheet.focused()); paint() },
    all: () => { if (!closer) { sheet.selection.all(); paint() } },
    clear: () => {
      const ids = targets()
      answers.clear(ids)
      changed(ids, say("cleared", { n: ids.length, at: placeOf(ids[0]) }))
    },
    closer: () => (closer ? closer.destroy() : look(targets()[0])),
    escape: () => {
      if (closer) closer.destroy()
      else if (sheet.selection.clear()) paint()
    },
  }

  // A page of alike images starts with all of them picked: one key answers it, and then one more each odd one.
  if (page.kind === "clustered" && page.mode === "label" && !isOne && !drafted.length) sheet.selection.all()
  paint()
  return {
    task: isOne ? "one" : "grid",
    /** A digit answers and moves on at once. */
    isQuick: isOne && !isMulti,
    apply,
    payload: answers.payload,
    missing: () => answers.summary().missing,
    /** How many answers came back from drafts; the images that have an answer, for a change of the layout. */
    drafted: drafted.length,
    answered: () => answers.ids.filter((id) => answers.answer(id)),
    showMissing() {
      const { missing } = answers.summary()
      closer?.destroy()
      isMissingShown = true
      sheet.showMissing(missing)
      paint()
      announce(say("missing", { n: missing.length }))
    },
    /** Focus this image, or the first without an answer. */
    focus(id = answers.summary().missing[0] ?? answers.ids[0]) {
      if (!closer) sheet.focus(id)
    },
    refocus: () => (closer ? closer.focus() : sheet.focus(sheet.focused())),
    skipCount: () => targets().length,
    skip(reason, note) {
      const ids = targets()
      answers.skip(ids, reason, note)
      sheet.selection.spend()
      changed(ids, say("skipped-n", { n: ids.length, at: placeOf(ids[0]), reason: say(`reason.${reason}`) }))
    },
    undo: () => step(answers.undo(), say("undone")),
    redo: () => step(answers.redo(), say("redone")),
    act(action) {
      if (action.name.startsWith("zoom-")) return closer ? (closer.act(action), true) : false
      const act = acts[action.name]
      act?.(action)
      return Boolean(act)
    },
    /** Another tab has answered an image of this page. */
    takeDraft(id) {
      if (!answers.ids.includes(id)) return
      answers.restore(id, drafts.load(id) ?? stood.get(id))
      paint()
    },
    status() {
      const { total, done, missing, suggested, changed: touched } = answers.summary()
      const isPrelabeled = page.kind === "prelabeled" && page.mode === "label"
      const submit = isPrelabeled && suggested ? say("confirm", { n: total }) : say("submit")
      if (isMissingShown && missing.length) return { isWarn: true, parts: [say("missing", { n: missing.length })], submit }
      if (suggested || touched) {
        return { parts: [say("suggestions", { n: suggested }), say("changed", { n: touched })], submit }
      }
      if (isOne) return { parts: [], submit }
      return { strong: say("done", { n: done, total }), parts: [say("done-word")], submit }
    },
    /** The answer of the one image, for the toast. */
    describe() {
      const [id] = answers.ids
      const answer = answers.answer(id)
      if (answer?.skip) return say("skipped", { reason: say(`reason.${answer.skip}`) })
      return answers.payload()[0].labels.map((label) => nameOf.get(label)).join(", ")
    },
    /** For the clipboard: one line per image, place and labels. */
    copyText: () =>
      answers.ids.filter((id) => answers.answer(id)).map((id) => {
        const answer = answers.answer(id)
        const { path } = page.items.find((item) => item.id === id).image
        return `${path}\t${answer.skip ?? answers.labels(id).map((label) => nameOf.get(label)).join(", ")}`
      }),
    destroy() {
      closer?.destroy()
      sheet.destroy()
    },
  }
}
