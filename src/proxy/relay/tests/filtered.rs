//! A filter that replaces and stops: what it may do, seen from both sides. It follows a protocol of lines, each answered by
//! a line.

use super::*;

/// A line of the client goes on behind `up `, one of the upstream behind `down `.
#[derive(Default)]
struct Lines {
    asked: usize,
    answered: usize,
    stopped: bool,
    /// The upstream's FIN is the client's, as without a filter that replaces.
    tied: bool,
    taken_back: Option<Vec<u8>>,
}

impl Lines {
    fn line(bytes: &[u8], prefix: &[u8]) -> FilterStatus {
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => FilterStatus::Replace { len: end + 1, with: [prefix, &bytes[..=end]].concat() },
            None => FilterStatus::NeedMore,
        }
    }
}

impl HttpFilter for Lines {
    fn request(&mut self, bytes: &[u8]) -> FilterStatus {
        if bytes.starts_with(b"stop") {
            self.stopped = true;
            return FilterStatus::Stop;
        }
        if bytes.starts_with(b"refuse") {
            return FilterStatus::Refuse(RefuseReason::HostChanged);
        }
        let line = Self::line(bytes, b"up ");
        self.asked += usize::from(line != FilterStatus::NeedMore);
        line
    }

    fn response(&mut self, bytes: &[u8]) -> FilterStatus {
        if bytes.starts_with(b"stop") {
            return FilterStatus::Stop;
        }
        if bytes.starts_with(b"as it is") {
            return FilterStatus::Pass(b"as it is".len());
        }
        let line = Self::line(bytes, b"down ");
        self.answered += usize::from(line != FilterStatus::NeedMore);
        line
    }

    fn unseen(&self, _: Side) -> u64 {
        0
    }

    fn passed(&mut self, _: Side, _: u64) {}

    fn is_settled(&self) -> bool {
        self.stopped && self.is_whole()
    }

    fn is_whole(&self) -> bool {
        self.asked == self.answered
    }

    fn may_close(&self) -> bool {
        false
    }

    fn outlives_upstream(&self) -> bool {
        !self.tied
    }

    fn take_back(&mut self, undecided: Vec<u8>) {
        self.taken_back = Some(undecided);
    }
}

/// A relay with this filter, between two sides that `script` plays; what it held back, how it ended, and what it counted.
/// Both sockets of the relay are still open while the script runs on.
fn filtered(filter: Lines, ahead: &[u8], script: impl AsyncFnOnce(Stream, Stream)) -> (Lines, End, ByteCounts) {
    block_on(async {
        let (to_client, far_client) = connection(false);
        let (to_upstream, far_upstream) = connection(false);
        let (mut filter, mut bytes) = (filter, ByteCounts::default());
        let (resources, cut) = (RelayResources::default(), Cell::new(None));
        let relay = Relay { client: &to_client, upstream: &to_upstream, idle: IDLE, resources: &resources, cut: &cut };
        let relay = relay.run(ahead.into(), Cell::from_mut(&mut bytes), Some(&mut filter));
        let (end, ()) = tokio::join!(relay, script(far_client, far_upstream));
        (filter, end, bytes)
    })
}

async fn reads(stream: &mut Stream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

/// Neither a byte nor FIN has come.
fn has_nothing(stream: &Stream) -> bool {
    stream.recv_now(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn what_is_replaced_goes_on_in_order_both_ways_however_it_is_cut() {
    let (filter, end, bytes) = filtered(Lines::default(), b"on", async |mut client, mut upstream| {
        client.write_all(b"e\ntwo\nthr").await.unwrap();
        reads(&mut upstream, b"up one\nup two\n").await;
        client.write_all(b"ee\n").await.unwrap();
        reads(&mut upstream, b"up three\n").await;
        upstream.write_all(b"1\nas it is2\n").await.unwrap();
        reads(&mut client, b"down 1\nas it isdown 2\n").await;
        upstream.write_all(b"3").await.unwrap();
        upstream.write_all(b"\n").await.unwrap();
        reads(&mut client, b"down 3\n").await;
        client.shutdown().await.unwrap();
        // It is over: all was answered.
        assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
    });
    assert_eq!((end.close, end.first), (Close::Done, Some(Side::Client)));
    assert_eq!(bytes, ByteCounts { up: 7 + 7 + 9, down: 7 + 8 + 7 + 7 });
    assert_eq!(filter.taken_back, Some(Vec::new()));
}

#[test]
fn what_is_not_for_this_upstream_is_handed_back_once_the_answers_are_there() {
    let (filter, end, _) = filtered(Lines::default(), b"", async |mut client, mut upstream| {
        client.write_all(b"one\nstop and\n more").await.unwrap();
        reads(&mut upstream, b"up one\n").await;
        // More than any buffer of ours has room for is left with the client.
        client.write_all(b" of it").await.unwrap();
        upstream.write_all(b"1\n").await.unwrap();
        reads(&mut client, b"down 1\n").await;
        assert!(has_nothing(&upstream) && has_nothing(&client));
        client.write_all(b"still open").await.unwrap();
    });
    assert_eq!((end.close, end.first, end.resets), (Close::Done, None, Resets::default()));
    let taken_back = filter.taken_back.unwrap();
    assert!(taken_back.starts_with(b"stop and\n more"), "{}", taken_back.escape_ascii());
}

#[test]
fn after_a_stop_nothing_is_read_from_the_client() {
    const SENT: usize = 4 << 20;
    let (filter, ..) = filtered(Lines::default(), b"one\nstop", async |mut client, mut upstream| {
        reads(&mut upstream, b"up one\n").await;
        let flood = vec![b'x'; SENT];
        let stuck = timeout(Duration::from_millis(200), client.write_all(&flood)).await;
        upstream.write_all(b"1\n").await.unwrap();
        drop(stuck);
        reads(&mut client, b"down 1\n").await;
    });
    assert_eq!(filter.taken_back.unwrap(), b"stop");
}

#[test]
fn what_the_upstream_should_not_have_sent_ends_the_relay_at_once() {
    let (filter, end, bytes) = filtered(Lines::default(), b"", async |mut client, mut upstream| {
        client.write_all(b"one\ntwo").await.unwrap();
        reads(&mut upstream, b"up one\n").await;
        upstream.write_all(b"1\nstop here").await.unwrap();
        reads(&mut client, b"down 1\n").await;
        assert!(has_nothing(&client));
    });
    assert_eq!((end.close, end.first, end.resets), (Close::Done, None, Resets::default()));
    assert_eq!(bytes.down, 7);
    assert_eq!(filter.taken_back.unwrap(), b"two");
}

/// Of an upstream that ends in good order and of one that resets: the client is sent no FIN, and what it has begun to send
/// is kept for another upstream.
#[test]
fn a_client_outlives_its_upstream() {
    for resets in [false, true] {
        let (filter, end, bytes) = filtered(Lines::default(), b"", async |mut client, mut upstream| {
            client.write_all(b"one\n").await.unwrap();
            reads(&mut upstream, b"up one\n").await;
            client.write_all(b"tw").await.unwrap();
            upstream.write_all(b"1\n").await.unwrap();
            reads(&mut client, b"down 1\n").await;
            if resets {
                socket2::SockRef::from(&upstream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(upstream);
            sleep(Duration::from_millis(50)).await;
            assert!(has_nothing(&client));
        });
        let close = if resets { Close::UpstreamReset } else { Close::Done };
        assert_eq!((end.close, end.first), (close, Some(Side::Upstream)));
        assert_eq!(bytes, ByteCounts { up: 7, down: 7 });
        assert_eq!(filter.taken_back.unwrap(), b"tw");
    }
}

/// Both are there to be read when the relay begins.
#[test]
fn nothing_is_sent_to_an_upstream_that_has_ended() {
    block_on(async {
        let (to_client, mut far_client) = connection(false);
        let (to_upstream, mut far_upstream) = connection(false);
        far_client.write_all(b"one\n").await.unwrap();
        far_upstream.shutdown().await.unwrap();
        to_upstream.broken_or_finished().await;
        let (mut filter, mut bytes) = (Lines::default(), ByteCounts::default());
        let (resources, cut) = (RelayResources::default(), Cell::new(None));
        let relay = Relay { client: &to_client, upstream: &to_upstream, idle: IDLE, resources: &resources, cut: &cut };
        let end = relay.run((*b"ahead\n").into(), Cell::from_mut(&mut bytes), Some(&mut filter)).await;
        assert_eq!((end.close, end.first, bytes), (Close::Done, Some(Side::Upstream), ByteCounts::default()));
        assert_eq!(filter.taken_back.unwrap(), b"ahead\n");
    });
}

/// The last bytes of an answer are not kept back for a FIN that does not follow.
#[test]
fn an_answer_that_came_with_fin_is_not_delayed() {
    let (_, end, _) = filtered(Lines::default(), b"", async |mut client, mut upstream| {
        client.write_all(b"one\n").await.unwrap();
        reads(&mut upstream, b"up one\n").await;
        upstream.write_all(b"1\n").await.unwrap();
        upstream.shutdown().await.unwrap();
        let start = std::time::Instant::now();
        reads(&mut client, b"down 1\n").await;
        // Corked, it would wait for 200 ms.
        assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
    });
    assert_eq!(end.first, Some(Side::Upstream));
}

#[test]
fn a_filter_may_also_pass_the_upstreams_fin_on() {
    let (_, end, _) = filtered(Lines { tied: true, ..Lines::default() }, b"", async |mut client, mut upstream| {
        upstream.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        client.write_all(b"one\n").await.unwrap();
        reads(&mut upstream, b"up one\n").await;
        client.shutdown().await.unwrap();
    });
    assert_eq!((end.close, end.first), (Close::Done, Some(Side::Upstream)));
}

/// All that a client had sent before FIN and reset arrives, also behind a filter whose relay may end without it.
#[test]
fn a_client_that_resets_in_the_middle_is_told_to_the_upstream() {
    let (filter, end, _) = filtered(Lines::default(), b"", async |mut client, mut upstream| {
        client.write_all(b"one\nstop").await.unwrap();
        reads(&mut upstream, b"up one\n").await;
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        // Open for as long as the relay runs.
        sleep(Duration::from_millis(50)).await;
        drop(upstream);
    });
    assert_eq!((end.close, end.first), (Close::ClientReset, Some(Side::Client)));
    assert_eq!(end.resets, Resets { client: false, upstream: true });
    assert_eq!(filter.asked, 1);
}

/// An answer to it would be taken for a part of the response.
#[test]
fn a_refusal_behind_half_a_response_is_not_how_a_relay_ends_that_is_cut() {
    block_on(async {
        let (to_client, mut client) = connection(false);
        let (to_upstream, mut upstream) = connection(false);
        let (mut filter, mut bytes, cut) = (Lines::default(), ByteCounts::default(), Cell::new(None));
        let resources = RelayResources::default();
        let relay = Relay { client: &to_client, upstream: &to_upstream, idle: IDLE, resources: &resources, cut: &cut };
        let relay = relay.run(Box::default(), Cell::from_mut(&mut bytes), Some(&mut filter));
        let script = async {
            client.write_all(b"one\nrefuse").await.unwrap();
            reads(&mut upstream, b"up one\n").await;
            // More than the client's socket takes, whatever its size.
            let response = b"as it is".repeat(4 << 20);
            let is_taken = timeout(Duration::from_millis(300), upstream.write_all(&response)).await;
            assert!(is_taken.is_err());
            cut.set(Some(Close::Drained));
            // It is polled again.
            client.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
        };
        let (end, ()) = tokio::join!(relay, script);
        assert_eq!((end.close, end.refused), (Close::Drained, None));
        assert!(end.resets.client);
    });
}
