// One JavaScript client under the contract: the same operations in Node and in a browser. Answers are plain JSON.
function makeDriver(Client) {
  let client, seen, notices, states, pushing;
  const settled = (promise) => promise.then((value) => ({ value }), (error) => ({ error: error.message, code: error.code ?? "" }));
  return {
    open(url, { token = null, types = null, sources = null, min_score: minScore = 0, after = null } = {}) {
      [seen, notices, states] = [[], [], []];
      client = new Client(url, {
        event: (e) => (e.seq === null ? notices.push(e.type) : seen.push([e.seq, e.type, e.source])),
        state: (name) => states.push(name),
      }, { token, types, sources, minScore, after });
      client.open();
    },
    seen: () => seen,
    notices: () => notices,
    ready: () => settled(client.ready.then(() => true)),
    position: () => client.position,
    reconnects: () => client.reconnects,
    final: () => states.at(-1) === "token" || states.at(-1) === "refused",
    evidence: async (id, shown) => settled(client.evidence(id, shown).then((png) => png && [...png])),
    marker: (label, source, timeNs = null) => client.marker(label, source, timeNs),
    withdraw: (source) => settled(client.withdraw(source).then(({ events, expressions, files }) => ({ events, expressions, files }))),
    agree: (source, sha256) => settled(client.agree(source, sha256)),
    begin: (source) => settled(client.begin(source).then(({ run }) => run)),
    save: (source) => settled(client.save(source).then(({ run, expressions }) => [run, expressions])),
    async push(source, count) {
      const begun = await settled(client.push(source));
      if (begun.error) return begun;
      pushing = begun.value;
      for (let k = 0; k < count; k++) pushing.send(Uint8Array.of(0xff, 0xd8, k), 1000 + 20 * k);
      return settled(pushing.stop().then(({ pictures }) => pictures));
    },
    async iterated(count) {
      const found = [];
      for await (const [envelope] of client.events()) {
        found.push(envelope.seq);
        if (found.length === count) break;
      }
      return found;
    },
    close: () => client?.close(),
  };
}
