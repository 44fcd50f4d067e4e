/**
 * Answers kept in this browser until the server says "stored". One entry per image, so that a changed layout, a lapsed
 * page or a second tab loses nothing: the last word on an image wins.
 */

const KEEP_DAYS = 14

/**
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
