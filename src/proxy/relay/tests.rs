//! The relay over real sockets of the loopback interface: nothing lost, nothing doubled, nothing kept.

mod filtered;

use std::os::fd::AsFd;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::runtime::testing::{block_on, in_virtual_time, next_turn, pair};
use crate::runtime::timeout;
use crate::sys::random::Random;
use crate::sys::tcp_info::segments_received;

/// A relay that is never cut, without a filter.
async fn relay(
    client: &Stream,
    upstream: &Stream,
    ahead: Vec<u8>,
    idle: Duration,
    resources: &RelayResources,
    bytes: &mut ByteCounts,
) -> End {
    Relay { client, upstream, idle, resources, cut: &Cell::new(None) }
        .run(ahead.into(), Cell::from_mut(bytes), None)
        .await
}

const IDLE: Duration = Duration::from_secs(60);

/// What one side does with its writing half, step by step; then FIN.
#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    /// Others get so many turns.
    Wait(u8),
}

/// One side of a connection: what it writes, and in what bites it reads.
#[derive(Debug, Clone)]
struct Player {
    steps: Vec<Step>,
    bite: usize,
    turns_between_bites: u8,
    small_buffers: bool,
}

impl Player {
    fn writes(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), bite: 1 << 20, turns_between_bites: 0, small_buffers: false }
    }

    fn total(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Write(n) = step { *n } else { 0 }).sum()
    }

    /// Plays the side; gives what it read until FIN.
    async fn play(&self, stream: Stream) -> Vec<u8> {
        let (mut reader, mut writer) = (&stream, &stream);
        let write = async {
            let mut at = 0;
            for step in &self.steps {
                match *step {
                    Step::Write(n) => {
                        writer.write_all(&pattern(at, n)).await.unwrap();
                        at += n;
                    }
                    Step::Wait(turns) => wait(turns).await,
                }
            }
            writer.shutdown().await.unwrap();
        };
        let read = async {
            let mut got = Vec::new();
            let mut bite = vec![0; self.bite];
            loop {
                match reader.read(&mut bite).await.unwrap() {
                    0 => return got,
                    n => got.extend_from_slice(&bite[..n]),
                }
                wait(self.turns_between_bites).await;
            }
        };
        tokio::join!(write, read).1
    }
}

/// Bytes `at..at + n` of a stream in which every loss and swap shows.
fn pattern(at: usize, n: usize) -> Vec<u8> {
    (at..at + n).map(|i| i.wrapping_mul(31).wrapping_add(i >> 8).to_le_bytes()[0]).collect()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

async fn wait(turns: u8) {
    for _ in 0..turns {
        next_turn().await;
    }
}

/// Both ends of a connection; ours first.
fn connection(small_buffers: bool) -> (Stream, Stream) {
    let (ours, theirs) = pair();
    for stream in [&ours, &theirs] {
        // As in the gate.
        socket2::SockRef::from(stream).set_tcp_nodelay(true).unwrap();
    }
    if small_buffers {
        for stream in [&ours, &theirs] {
            let socket = socket2::SockRef::from(stream);
            // Smaller than many writes; with room for one segment (64 KiB here), below which TCP waits for timers.
            socket.set_send_buffer_size(64 << 10).unwrap();
            socket.set_recv_buffer_size(64 << 10).unwrap();
        }
    }
    (ours, theirs)
}

/// Relays between two played sides; each must have read what the other wrote.
fn exchange(client: &Player, upstream: &Player, ahead: &[u8], resources: &RelayResources) -> ByteCounts {
    let (end, bytes, at_client, at_upstream) = block_on(async {
        let (to_client, far_client) = connection(client.small_buffers);
        let (to_upstream, far_upstream) = connection(upstream.small_buffers);
        let mut bytes = ByteCounts::default();
        let relay = async {
            let end = relay(&to_client, &to_upstream, ahead.to_vec(), IDLE, resources, &mut bytes).await;
            // As the session does; whoever waits for a FIN gets it at the latest now.
            drop((to_client, to_upstream));
            end
        };
        let (end, at_client, at_upstream) = tokio::join!(relay, client.play(far_client), upstream.play(far_upstream));
        (end, bytes, at_client, at_upstream)
    });
    assert_eq!(end.close, Close::Done);
    assert!(end.first.is_some());
    assert!(at_upstream == [ahead, &pattern(0, client.total())].concat(), "upstream got {}", at_upstream.len());
    assert!(at_client == pattern(0, upstream.total()), "client got {}", at_client.len());
    assert_eq!(bytes, ByteCounts { up: length(&at_upstream), down: length(&at_client) });
    assert_eq!(resources.pipes.leased(), 0);
    bytes
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..200).prop_map(Step::Write),
        2 => (1_usize..40_000).prop_map(Step::Write),
        2 => (60_000_usize..400_000).prop_map(Step::Write),
        3 => (0_u8..40).prop_map(Step::Wait),
    ]
}

fn a_side() -> impl Strategy<Value = Player> {
    let steps = proptest::collection::vec(a_step(), 0..12);
    let bite = prop_oneof![Just(1 << 20), 500_usize..5_000];
    (steps, bite, 0_u8..6, any::<bool>()).prop_map(|(steps, bite, turns_between_bites, small_buffers)| Player {
        steps,
        bite,
        turns_between_bites,
        small_buffers,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_arrives_exactly(
        client in a_side(), upstream in a_side(), ahead in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        exchange(&client, &upstream, &ahead, &RelayResources::default());
    }
}

#[test]
fn small_exchanges_never_take_a_pipe() {
    let resources = RelayResources::default();
    let chat = || Player::writes((0..50).flat_map(|_| [Step::Write(900), Step::Wait(20)]));
    exchange(&chat(), &chat(), b"hello", &resources);
    assert_eq!(resources.pipes.idle(), 0);
}

#[test]
fn bulk_takes_a_pipe_and_gives_it_back() {
    let resources = RelayResources::default();
    let bulk = Player::writes([Step::Write(8 << 20)]);
    exchange(&Player::writes([]), &bulk, b"", &resources);
    assert_eq!(resources.pipes.idle(), 1);
    // The same pipe serves the next one.
    exchange(&bulk, &Player::writes([]), b"", &resources);
    assert_eq!(resources.pipes.idle(), 1);
}

#[test]
fn without_a_pipe_to_be_had_bulk_is_copied() {
    let resources = RelayResources::default();
    let leases: Vec<_> = std::iter::from_fn(|| resources.pipes.lease()).collect();
    assert!(leases.len() > 8, "a bound, and not a tiny one");
    let bulk = || Player::writes([Step::Write(8 << 20)]);
    let held = leases.len();
    block_on(async {
        let (to_client, far_client) = connection(false);
        let (to_upstream, far_upstream) = connection(false);
        let mut bytes = ByteCounts::default();
        let (client, upstream) = (bulk(), bulk());
        let relay = async {
            relay(&to_client, &to_upstream, Vec::new(), IDLE, &resources, &mut bytes).await;
            drop((to_client, to_upstream));
        };
        let ((), at_client, at_upstream) = tokio::join!(relay, client.play(far_client), upstream.play(far_upstream));
        assert!(at_client == pattern(0, 8 << 20) && at_upstream == pattern(0, 8 << 20));
    });
    assert_eq!(resources.pipes.leased(), held);
    drop(leases);
    assert_eq!((resources.pipes.leased(), resources.pipes.idle()), (0, held));
}

#[test]
fn a_relay_that_is_cut_has_counted_exactly_and_closes_a_pipe_that_is_not_empty() {
    let resources = RelayResources::default();
    // Not within a turn, which would have ended long ago when it is made.
    let sent = pattern(0, 64 << 20);
    block_on(async {
        let (to_client, mut far_client) = connection(false);
        let (to_upstream, mut far_upstream) = connection(false);
        let mut bytes = ByteCounts::default();
        {
            let mut relay = pin!(relay(&to_client, &to_upstream, Vec::new(), IDLE, &resources, &mut bytes));
            // The client reads nothing, so at some point the upstream is stopped, with a full pipe between.
            let mut write = pin!(far_upstream.write_all(&sent));
            let mut quiet = pin!(sleep(Duration::from_millis(300)));
            let stuck = tokio::select! {
                _ = &mut relay => false,
                _ = &mut write => false,
                () = &mut quiet => true,
            };
            assert!(stuck);
            assert_eq!(resources.pipes.leased(), 1);
        }
        assert_eq!((resources.pipes.leased(), resources.pipes.idle()), (0, 0));
        drop(to_client);
        let mut got = Vec::new();
        far_client.read_to_end(&mut got).await.unwrap();
        assert_eq!(bytes.down, length(&got));
        assert!(got == pattern(0, got.len()));
    });
}

#[test]
fn a_direction_with_nothing_in_it_holds_nothing() {
    let resources = RelayResources::default();
    block_on(async {
        let (to_client, mut far_client) = connection(false);
        let (to_upstream, mut far_upstream) = connection(false);
        let mut bytes = ByteCounts::default();
        let script = async {
            far_upstream.write_all(&pattern(0, 8 << 20)).await.unwrap();
            far_upstream
        };
        let reading = async {
            let mut got = vec![0; 8 << 20];
            far_client.read_exact(&mut got).await.unwrap();
            far_client
        };
        let relay = relay(&to_client, &to_upstream, Vec::new(), IDLE, &resources, &mut bytes);
        let idle = async {
            let (upstream, client) = tokio::join!(script, reading);
            // All has arrived; the relay has seen that nothing more is there once it has given its pipe back.
            while resources.pipes.leased() > 0 {
                next_turn().await;
            }
            drop((upstream, client));
        };
        tokio::join!(relay, idle);
    });
    assert_eq!(resources.pipes.idle(), 1);
}

#[test]
fn the_side_that_ends_first_is_reported() {
    for client_first in [true, false] {
        block_on(async {
            let (to_client, mut far_client) = connection(false);
            let (to_upstream, mut far_upstream) = connection(false);
            let mut bytes = ByteCounts::default();
            let resources = RelayResources::default();
            let relay = relay(&to_client, &to_upstream, Vec::new(), IDLE, &resources, &mut bytes);
            let ends = async {
                let (first, second) = if client_first {
                    (&mut far_client, &mut far_upstream)
                } else {
                    (&mut far_upstream, &mut far_client)
                };
                first.shutdown().await.unwrap();
                assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
                second.shutdown().await.unwrap();
            };
            let (end, ()) = tokio::join!(relay, ends);
            let first = if client_first { Side::Client } else { Side::Upstream };
            assert_eq!(
                end,
                End {
                    close: Close::Done,
                    first: Some(first),
                    refused: None,
                    resets: Resets::default(),
                    client_sends: false
                }
            );
        });
    }
}

/// An answer whose FIN has come with it goes out as one packet, and so do the end of a request and its FIN.
#[test]
fn the_last_bytes_and_their_fin_are_one_packet() {
    for from_client in [true, false] {
        block_on(async {
            let (to_client, mut far_client) = connection(false);
            let (to_upstream, mut far_upstream) = connection(false);
            let (ends, hears, source) = if from_client {
                (&mut far_client, &mut far_upstream, &to_client)
            } else {
                (&mut far_upstream, &mut far_client, &to_upstream)
            };
            ends.write_all(b"bye").await.unwrap();
            ends.shutdown().await.unwrap();
            source.broken_or_finished().await;
            let before = segments_received(hears);
            let mut bytes = ByteCounts::default();
            let resources = RelayResources::default();
            let relay = relay(&to_client, &to_upstream, Vec::new(), IDLE, &resources, &mut bytes);
            let hear = async {
                let mut heard = String::new();
                hears.read_to_string(&mut heard).await.unwrap();
                assert_eq!((&*heard, segments_received(hears) - before), ("bye", 1));
                hears.shutdown().await.unwrap();
            };
            let (end, ()) = tokio::join!(relay, hear);
            assert_eq!(end.close, Close::Done);
        });
    }
}

/// A client that has sent everything and FIN, and then resets: the upstream reads it all, however slowly, also where the
/// end was read before the upstream had room for it.
#[test]
fn what_was_sent_before_fin_and_reset_arrives_as_slowly_as_it_is_read() {
    const PIECE: usize = 48 * 1024;
    let exchange = async |pieces: usize| {
        let (to_client, mut far_client) = connection(true);
        let (to_upstream, mut far_upstream) = connection(true);
        let sent = pattern(0, pieces * PIECE);
        let mut bytes = ByteCounts::default();
        let resources = RelayResources::default();
        let relay = async {
            relay(&to_client, &to_upstream, Vec::new(), IDLE, &resources, &mut bytes).await;
            // As the session does.
            delivered(&to_upstream, IDLE).await;
            drop(to_upstream);
        };
        let play = async {
            // What is more than the way holds has no end that could be read too early.
            let writing = async {
                far_client.write_all(&sent).await.unwrap();
                far_client.shutdown().await.unwrap();
                // With our kernel; what a reset finds in the client's own is lost.
                to_client.broken_or_finished().await;
            };
            timeout(Duration::from_millis(300), writing).await.ok()?;
            sleep(Duration::from_millis(50)).await;
            socket2::SockRef::from(&far_client).set_linger(Some(Duration::ZERO)).unwrap();
            drop(far_client);
            // The relay meets the reset, and has more than a second to give up.
            far_upstream.write_all(b"answer").await.unwrap();
            sleep(LAST_WORDS + Duration::from_millis(300)).await;
            let mut got = Vec::new();
            let _ = far_upstream.read_to_end(&mut got).await;
            Some(got)
        };
        let (mut play, mut relay) = (pin!(play), pin!(relay));
        let got = tokio::select! {
            got = &mut play => got,
            () = &mut relay => play.await,
        };
        got.map(|got| (got.len(), sent.len()))
    };
    let heard = block_on(async {
        let lengths = (1..16).map(exchange);
        futures_util::future::join_all(lengths).await
    });
    let complete: Vec<_> = heard.into_iter().flatten().collect();
    complete.iter().for_each(|(got, sent)| assert_eq!(got, sent));
    assert!(complete.len() > 4, "{} lengths fit the way", complete.len());
}

#[test]
fn a_reset_ends_both_ways_and_is_told() {
    for client_resets in [true, false] {
        block_on(async {
            let (to_client, far_client) = connection(false);
            let (to_upstream, far_upstream) = connection(false);
            let mut bytes = ByteCounts::default();
            let resources = RelayResources::default();
            let (reset, _kept) = if client_resets { (far_client, far_upstream) } else { (far_upstream, far_client) };
            socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
            drop(reset);
            let end = relay(&to_client, &to_upstream, Vec::new(), IDLE, &resources, &mut bytes).await;
            let (close, side) =
                if client_resets { (Close::ClientReset, Side::Client) } else { (Close::UpstreamReset, Side::Upstream) };
            let resets = Resets { client: !client_resets, upstream: client_resets };
            assert_eq!(end, End { close, first: Some(side), refused: None, resets, client_sends: true });
        });
    }
}

#[test]
fn silence_ends_it_and_a_byte_either_way_puts_that_off() {
    block_on(async {
        let (to_client, mut far_client) = connection(false);
        let (to_upstream, mut far_upstream) = connection(false);
        let mut bytes = ByteCounts::default();
        let resources = RelayResources::default();
        // Wide of the pauses below: the machine may be busy.
        let idle = Duration::from_millis(1500);
        let pause = Duration::from_millis(400);
        let start = Instant::now();
        let talk = async {
            for turn in 0..6 {
                sleep(pause).await;
                let speaker = if turn % 2 == 0 { &mut far_client } else { &mut far_upstream };
                speaker.write_all(b".").await.unwrap();
            }
            Instant::now()
        };
        let relay = relay(&to_client, &to_upstream, Vec::new(), idle, &resources, &mut bytes);
        let (end, last_word) = tokio::join!(relay, talk);
        assert_eq!(
            end,
            End { close: Close::Idle, first: None, refused: None, resets: Resets::default(), client_sends: true }
        );
        assert!(last_word.elapsed() >= idle - pause, "after the last word, not the first");
        assert!(start.elapsed() >= 6 * pause + idle - pause);
        assert_eq!(bytes, ByteCounts { up: 3, down: 3 });
    });
}

#[test]
fn a_connection_that_is_no_longer_young_gets_keepalive() {
    in_virtual_time(async {
        let (to_client, _far_client) = connection(false);
        let (to_upstream, _far_upstream) = connection(false);
        let descriptor = to_upstream.as_fd().try_clone_to_owned().unwrap();
        let (resources, mut bytes) = (RelayResources::default(), ByteCounts::default());
        let relay = relay(&to_client, &to_upstream, Vec::new(), 4 * YOUTH, &resources, &mut bytes);
        let look = async {
            let kept_alive = || socket2::SockRef::from(&descriptor).keepalive().unwrap();
            sleep(YOUTH - Duration::from_millis(1)).await;
            let young = kept_alive();
            sleep(Duration::from_millis(2)).await;
            (young, kept_alive())
        };
        let (end, kept_alive) = tokio::join!(relay, look);
        assert_eq!(kept_alive, (false, true));
        assert_eq!(end.close, Close::Idle);
    });
}

/// Memory per relayed connection is a reviewed number: a change that raises it says why.
#[test]
fn the_future_of_a_relay_is_small() {
    async fn sized(client: Stream, upstream: Stream, resources: &RelayResources) {
        let (cut, mut bytes) = (Cell::new(None), ByteCounts::default());
        let relay = Relay { client: &client, upstream: &upstream, idle: IDLE, resources, cut: &cut };
        relay.run(Box::default(), Cell::from_mut(&mut bytes), None).await;
    }
    fn size<F: Future>(_: impl Fn(Stream, Stream, &'static RelayResources) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = size(sized);
    // 704 on x86-64 with tokio 1.54, the two streams included.
    assert!(bytes <= 704, "{bytes} bytes");
}

/// What one of two sides does, and when, in milliseconds.
#[derive(Debug, Clone, Copy)]
enum Act {
    Says(usize),
    /// Reads all that has come; until then it stays in the kernel's buffers.
    Hears,
    Ends,
}

/// Both sides at random. The clock stands still while bytes are on their way, and is moved from act to act: so
/// what the relay does, and at which millisecond, can be foretold. Gives how it ended.
fn simulate(seed: u64) -> Close {
    const LIMIT: u64 = 1000;
    let mut random = Random(seed);
    let mut below = |n| random.below(n);
    let mut acts = Vec::new();
    for side in 0..2 {
        let mut at = 0;
        for _ in 0..below(12) {
            at += if below(15) == 0 { 900 + below(400) } else { below(400) };
            // All of it fits into the buffers of a socket that nobody reads.
            let said = usize::try_from(1 + below(3000)).unwrap();
            acts.push((at, side, if below(3) == 0 { Act::Hears } else { Act::Says(said) }));
        }
        acts.push((at + below(300), side, Act::Ends));
    }
    acts.sort_by_key(|(at, ..)| *at);
    in_virtual_time(async {
        let (to_client, far_client) = connection(false);
        let (to_upstream, far_upstream) = connection(false);
        let mut sides = [far_client, far_upstream];
        let (mut bytes, resources) = (ByteCounts::default(), RelayResources::default());
        let idle = Duration::from_millis(LIMIT);
        let mut relay = Box::pin(async {
            let end = relay(&to_client, &to_upstream, Vec::new(), idle, &resources, &mut bytes).await;
            // As the session does: whoever waits for a FIN gets it at the latest now.
            drop((to_client, to_upstream));
            end
        });
        let (mut said, mut heard) = ([0, 0], [0, 0]);
        let play = async {
            // The relay begins at 0.
            next_turn().await;
            let (mut now, mut last_byte) = (0, 0);
            for (at, side, act) in acts {
                if at >= last_byte + LIMIT {
                    sleep(Duration::from_millis(last_byte + LIMIT - now).saturating_sub(Duration::from_millis(1)))
                        .await;
                    return Some(Duration::from_millis(20));
                }
                sleep(Duration::from_millis(at - now)).await;
                now = at;
                let other = 1 - side;
                match act {
                    Act::Says(n) => {
                        sides[side].write_all(&pattern(said[side], n)).await.unwrap();
                        said[side] += n;
                        last_byte = now;
                        // All of it is through before the clock moves on.
                        let mut waiting = vec![0; said[side] - heard[other]];
                        while sides[other].peek_now(&mut waiting).unwrap_or_default() < waiting.len() {
                            next_turn().await;
                        }
                    }
                    Act::Hears => heard[side] += hear(&mut sides[side], heard[side], said[other]).await,
                    Act::Ends => {
                        sides[side].shutdown().await.unwrap();
                        heard[other] += hear(&mut sides[other], heard[other], said[side]).await;
                        assert_eq!(sides[other].read(&mut [0]).await.unwrap(), 0);
                    }
                }
            }
            None
        };
        let (mut ended, mut play) = (None, Box::pin(play));
        let silence = loop {
            tokio::select! {
                biased;
                silence = &mut play => break silence,
                end = &mut relay, if ended.is_none() => {
                    assert_eq!(end.close, Close::Done, "seed {seed}: too early");
                    ended = Some(end);
                }
            }
        };
        if let Some(rest) = silence {
            sleep(rest).await;
        }
        let end = match ended {
            Some(end) => end,
            None => relay.as_mut().await,
        };
        drop((play, relay));
        let expected = if silence.is_some() { Close::Idle } else { Close::Done };
        assert_eq!(end.close, expected, "seed {seed}");
        assert_eq!([bytes.up, bytes.down], said.map(|n| u64::try_from(n).unwrap()), "seed {seed}");
        end.close
    })
}

/// Bytes `from..to` of the pattern; gives how many.
async fn hear(stream: &mut Stream, from: usize, to: usize) -> usize {
    let mut bytes = vec![0; to - from];
    stream.read_exact(&mut bytes).await.unwrap();
    assert!(bytes == pattern(from, to - from), "bytes {from}..{to}");
    to - from
}

#[test]
fn random_schedules_end_as_foretold() {
    let ends: Vec<Close> = (0..300).map(simulate).collect();
    let done = ends.iter().filter(|end| **end == Close::Done).count();
    // Of both kinds, or it would show little.
    assert!((50..250).contains(&done), "{done}");
}
