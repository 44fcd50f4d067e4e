/**
 * The answers of one page of classification, with undo and redo; and the drafts of answers that the browser keeps. Pure:
 * knows neither page nor server.
 *
 * An image's own answer is null while nobody has touched it; then its suggestions stand for it, and submitting confirms
 * them. {labels: []} is a touched image without labels: it needs one.
 *
 * @typedef {{labels: number[]} | {skip: string, note: string}} Answer
 * @typedef {{label_class: number, confidence: number | null}} Suggestion
 * @typedef {{id: number, answer: Answer | null, prelabels: Suggestion[]}} Item
 */

const KEEP_DAYS = 14

/**
 * @param {Item[]} items in the order of the page
 * @param {{classes: number[], isMulti: boolean}} options the classes that may be given; whether one image may have several
 */
export function createAnswers(items, { classes, isMulti }) {
  const ids = items.map((item) => item.id)
  const known = new Set(classes)
  const suggestions = new Map(
    items.map((item) => [item.id, (item.prelabels ?? []).filter((hint) => known.has(hint.label_class))]),
  )
  let own = new Map(items.map((item) => [item.id, usable(item.answer)]))
  let past = []
  let future = []

  /** Drop classes that are gone meanwhile (retired, merged); an answer of which nothing is left is none. */
  function usable(answer) {
    if (!answer || answer.boxes) return null
    if (answer.skip) return { skip: answer.skip, note: answer.note ?? "" }
    const labels = answer.labels.filter((label) => known.has(label))
    return labels.length || !answer.labels.length ? { labels } : null
  }

  const hints = (id) => (own.get(id) ? [] : suggestions.get(id))
  const labels = (id) => own.get(id)?.labels ?? []
  const isComplete = (id) => Boolean(own.get(id)?.skip) || labels(id).length > 0 || hints(id).length > 0
  /** Where several labels are allowed, a suggestion counts as being there: a press takes it off. */
  const base = (id) => (isMulti && !own.get(id) ? hints(id).map((hint) => hint.label_class) : labels(id))

  function change(next) {
    past.push(own)
    future = []
    own = next
  }

  function replace(targets, answerOf) {
    const next = new Map(own)
    for (const id of targets) next.set(id, answerOf(id))
    change(next)
  }

  /** Without suggestions, an image whose labels were taken off is as untouched as before. */
  const emptied = (id, left) => (left.length || suggestions.get(id).length ? { labels: left } : null)

  function step(from, to) {
    if (!from.length) return null
    const before = own
    to.push(own)
    own = from.pop()
    return ids.filter((id) => before.get(id) !== own.get(id))
  }

  return {
    ids,
    labels,
    hints,
    isComplete,
    answer: (id) => own.get(id),
    canUndo: () => past.length > 0,

    /** Put the class on all of these images, or take it off if all have it. Returns "on" or "off". */
    toggle(targets, label) {
      const isOff = targets.every((id) => base(id).includes(label))
      replace(targets, (id) => {
        if (isOff) return emptied(id, base(id).filter((other) => other !== label))
        return { labels: isMulti ? [...new Set([...base(id), label])] : [label] }
      })
      return isOff ? "off" : "on"
    },

    clear(targets) {
      replace(targets, (id) => emptied(id, []))
    },

    skip(targets, reason, note = "") {
      replace(targets, () => ({ skip: reason, note }))
    },

    /** Take up a draft, without a step to undo. */
    restore(id, answer) {
      own = new Map(own).set(id, usable(answer))
    },

    /** Both return the ids of the images that changed, or null if there was nothing to do. */
    undo: () => step(past, future),
    redo: () => step(future, past),

    /** How many of these images have the class: "true" all, "mixed" some, "false" none (as aria-pressed says it). */
    pressed(targets, label) {
      const having = targets.filter((id) => base(id).includes(label)).length
      if (!having) return "false"
      return having === targets.length ? "true" : "mixed"
    },

    /** Images per class on this page, suggestions included. */
    counts() {
      const counts = new Map(classes.map((label) => [label, 0]))
      for (const id of ids) {
        const shown = own.get(id) ? labels(id) : hints(id).map((hint) => hint.label_class)
        for (const label of shown) counts.set(label, counts.get(label) + 1)
      }
      return counts
    },

    /** suggested: images that still show suggestions; changed: images with suggestions that the labeler touched. */
    summary() {
      const missing = ids.filter((id) => !isComplete(id))
      const suggested = ids.filter((id) => hints(id).length).length
      const changed = ids.filter((id) => own.get(id) && suggestions.get(id).length).length
      return { total: ids.length, done: ids.length - missing.length, missing, suggested, changed }
    },

    /** What the server stores: an answer for every image, suggestions confirmed. */
    payload() {
      return ids.map((id) => {
        const answer = own.get(id)
        if (answer?.skip) return { id, ...answer }
        return { id, labels: answer ? labels(id) : hints(id).map((hint) => hint.label_class) }
      })
    },
  }
}

/**
 * Answers kept in this browser until the server says "stored". One entry per image, so that a changed layout, a lapsed
 * page or a second tab loses nothing: the last word on an image wins.
 *
 * @param {Storage} storage localStorage
 * @param {string} place whose drafts: user and project
 * @param {() => number} now milliseconds
 */
export function createDrafts(storage, place, now = Date.now) {
  const prefix = `labelsite-draft/${place}/`

  return {
    /** Keep the answer, or forget the image if there is none. Returns false if the browser keeps nothing. */
    save(id, answer) {
      try {
        if (answer) storage.setItem(prefix + id, JSON.stringify({ answer, at: now() }))
        else storage.removeItem(prefix + id)
        return true
      } catch {
        return false
      }
    },

    /** Return the kept answer of an image, or null. */
    load(id) {
      try {
        return JSON.parse(storage.getItem(prefix + id))?.answer ?? null
      } catch {
        return null
      }
    },

    remove(ids) {
      for (const id of ids) this.save(id, null)
    },

    /** The id of the image whose draft a storage event tells about, or null. */
    idOf(key) {
      return key?.startsWith(prefix) ? Number(key.slice(prefix.length)) : null
    },

    /** Tell other tabs that a page is stored. */
    tellStored(page) {
      try {
        storage.setItem(`labelsite-stored/${place}`, String(page))
      } catch {
        // Then the other tab learns it from the server.
      }
    },

    /** The id of the page that another tab submitted, or null. */
    storedPage: ({ key, newValue }) => (key === `labelsite-stored/${place}` ? Number(newValue) : null),

    /** Forget what nobody came back for, of every person and project. */
    prune() {
      try {
        for (const key of Object.keys(storage)) {
          if (!key.startsWith("labelsite-draft/")) continue
          const { at } = JSON.parse(storage.getItem(key)) ?? {}
          if (!(now() - at < KEEP_DAYS * 86_400_000)) storage.removeItem(key)
        }
      } catch {
        // A browser without storage has nothing to forget.
      }
    },
  }
}
