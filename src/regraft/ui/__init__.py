"""regraft ui: from a folder to a model, on a page.

    page ── guards ──▶ app ──▶ Desk ──▶ child processes: regraft doctor, regraft fit
                        │                    │ progress as JSON lines, then one document
                        └──▶ serve's own addresses, for the model that came of it

folders   folders of this machine, by name only; where results may go
watching  lines of progress → what is drawn of them
jobs      one verb in a process of its own: begun, watched, stopped as Ctrl-C does
desk      what was chosen, what runs, what came of it
app       the addresses, beside those of `regraft.serve`

The work is done by the verbs of the command line, so that the page outlives whatever happens to it.
"""
