from mellm.engine.results.about import KEY, About


def test_it_reads_back_as_it_was_written():
    about = About("p-1", "2", "calm", "glasses", "research", {"age": "31"})
    assert About.of({KEY: about.to_json()}) == about


def test_runs_of_older_versions_and_damaged_ones_say_nothing():
    assert About.of({}) == About()
    assert About.of({KEY: "p-1"}) == About()
    assert About.of({KEY: {"subject": None, "more": 1}}) == About()
