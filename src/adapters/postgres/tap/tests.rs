use super::*;

fn message(tag: u8, body: &[u8]) -> Message<'_> {
    Message { tag, length: body.len(), body }
}

/// `>` and a tag goes to the server, `<` and a tag comes from it, a `ReadyForQuery` with its
/// state.
fn after(conversation: &str) -> State {
    let mut state = State { is_attached: true, asked: 1, ..State::default() };
    state.received(message(b'Z', b"I"));
    for word in conversation.split_whitespace() {
        match word.as_bytes() {
            [b'>', tag] => state.sent(message(*tag, b"")),
            [b'<', tag] => state.received(message(*tag, b"")),
            [b'<', tag, body @ ..] => state.received(message(*tag, body)),
            _ => panic!("{word}"),
        }
    }
    state
}

fn is_clean(conversation: &str) -> bool {
    let tap = Tap(Arc::new(Mutex::new(after(conversation))));
    tap.is_clean()
}

#[test]
fn a_connection_is_clean_once_all_that_matters_is_answered_and_no_transaction_is_open() {
    for clean in [
        "",
        ">Q <C <ZI",
        ">Q <ZT >Q <ZI",
        // A prepared query, and its end still under way.
        ">P >D >S <ZI >B >E >S <ZI >C >S",
        // Two at once.
        ">B >E >S >B >E >S <ZI <ZI",
        // A copy: the server overhears its first `Sync`.
        ">B >E >S <G >d >c >S <C <ZI",
    ] {
        assert!(is_clean(clean), "{clean}");
    }
    for unclean in [
        ">Q",
        ">Q <ZT",
        ">Q <ZE",
        ">B >E",
        ">B >E >S",
        ">B >E >S >B >E >S <ZI",
        ">Q >C >S <ZT",
        ">B >E >S >C >S <ZT",
        ">F",
        // In the midst of copies, both ways.
        ">B >E >S <G >d",
        ">B >E >S <H <d",
        ">Q <G",
        // Something failed.
        ">Q <E <ZI",
        // A notification.
        "<A",
    ] {
        assert!(!is_clean(unclean), "{unclean}");
    }
}

#[test]
fn a_copy_that_no_driver_goes_on_with_is_told_from_others() {
    for (conversation, is_stuck) in
        [(">Q <G", true), (">B >E >S <G >d >c >S <C <ZI", false), (">Q <C <ZI >B >E >S <G", false)]
    {
        assert_eq!(after(conversation).is_stuck, is_stuck, "{conversation}");
    }
}

#[test]
fn silence_is_the_servers_only_if_the_stream_was_read() {
    let mut state = after(">Q");
    state.response_timeout = Some(Duration::from_secs(1));
    assert!(state.limit().is_none(), "what has come is not taken");
    state.starve();
    assert!(state.limit().is_some());
    state.heard(1);
    assert!(state.limit().is_none());
    let mut state = after(">Q <ZI");
    state.response_timeout = Some(Duration::from_secs(1));
    state.starve();
    assert!(state.limit().is_none(), "nothing was asked");
}

#[test]
fn answers_that_were_not_asked_for_do_not_count_for_later() {
    assert!(!is_clean("<ZI <ZI <ZI >Q"));
}

#[test]
fn a_copy_that_was_refused_leaves_the_step_in_doubt() {
    let in_doubt = |conversation| {
        let tap = Tap(Arc::new(Mutex::new(after(conversation))));
        tap.may_be_out_of_step()
    };
    // At once, after it was asked for lines, and given up before it was taken up.
    assert!(in_doubt(">B >E >S <E <ZI >f >S"));
    assert!(in_doubt(">B >E >S <G <E <ZI >c >S"));
    assert!(in_doubt(">B >E >S >f >S <G <E <ZI"));
    assert!(!in_doubt(">B >E >S <G >d >c >S <C <ZI"));
    assert!(!in_doubt(">Q <E <ZI"));
}

#[test]
fn only_what_a_borrower_has_asked_for_may_be_long() {
    let row = Message { tag: b'D', length: LONGEST + 1, body: b"\0" };
    let is_refused = |conversation, is_the_pools| {
        let mut state = after(conversation);
        state.is_the_pools = is_the_pools;
        state.received(row);
        state.check_length().is_err()
    };
    assert!(!is_refused(">Q", false));
    assert!(is_refused(">Q", true));
    assert!(is_refused(">Q <C <ZI", false), "it was not asked for");
    let mut state = after("");
    state.received(Message { length: LONGEST, ..row });
    assert!(state.check_length().is_ok());
}

#[test]
fn what_is_still_to_come_when_all_is_settled_does_not_answer_what_is_asked_later() {
    // A statement ends between the last request and its answer.
    let tap = Tap(Arc::new(Mutex::new(after(">B >E >S <ZI >S >C >S <ZI"))));
    tap.settle();
    let mut state = tap.state();
    state.sent(message(b'Q', b""));
    state.received(message(b'Z', b"I"));
    assert!(!state.is_settled());
}
