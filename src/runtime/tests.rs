//! The loop over real sockets: what it waits for, in which order it polls, and what happens to a task that panics.

#![allow(clippy::disallowed_methods, reason = "the peer of a socket under test")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::sync::oneshot;

use super::*;
use crate::event_loop::{BROKEN, FINISHED, IN, OUT, Source};

/// A connected pair: ours, and a blocking one.
fn pair() -> (Source, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    (Source::connected(near.into()).unwrap(), far)
}

async fn read(source: &Source, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|_| {
        source.poll_io(IN, |fd| {
            let (n, _) = recv(fd, &mut *buffer, RecvFlags::DONTWAIT)?;
            Ok((n, 0 < n && n < buffer.len()))
        })
    })
    .await
}

async fn write(source: &Source, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|_| {
        source.poll_io(OUT, |fd| {
            let n = send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
            Ok((n, n < bytes.len()))
        })
    })
    .await
}

#[test]
fn what_was_spawned_runs_and_is_joined() {
    let event_loop = EventLoop::new().unwrap();
    let done = Rc::new(Cell::new(0));
    event_loop.block_on(async {
        let tasks: Vec<Task> = (0..3)
            .map(|_| {
                let done = Rc::clone(&done);
                spawn(async move { done.set(done.get() + 1) })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    });
    assert_eq!(done.get(), 3);
}

#[test]
fn a_panic_ends_one_task_and_is_the_end_of_it_for_those_that_wait() {
    let event_loop = EventLoop::new().unwrap();
    let dropped = Rc::new(Cell::new(false));
    struct Record(Rc<Cell<bool>>);
    impl Drop for Record {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    event_loop.block_on(async {
        let record = Record(Rc::clone(&dropped));
        let task = spawn(async move {
            let _record = record;
            sleep(Duration::from_millis(1)).await;
            panic!("as a defect would");
        });
        task.await;
    });
    assert!(dropped.get());
}

#[test]
fn what_is_left_is_dropped_with_the_loop_and_may_use_it_then() {
    let event_loop = EventLoop::new().unwrap();
    let (source, mut far) = pair();
    event_loop.block_on(async {
        spawn(async move {
            let _ = read(&source, &mut [0; 10]).await;
        });
        sleep(Duration::from_millis(5)).await;
    });
    drop(event_loop);
    assert_eq!(far.read(&mut [0; 10]).unwrap(), 0);
    assert!(Source::connected(far.into()).is_err(), "this thread runs none any more");
}

#[test]
fn a_read_waits_for_bytes_and_for_the_end() {
    let event_loop = EventLoop::new().unwrap();
    let (source, mut far) = pair();
    let writer = std::thread::spawn(move || {
        for piece in ["one", "two"] {
            far.write_all(piece.as_bytes()).unwrap();
            assert_eq!(far.read(&mut [0; 1]).unwrap(), 1);
        }
    });
    let mut read_bytes = Vec::new();
    event_loop.block_on(async {
        let mut buffer = [0; 10];
        loop {
            let n = read(&source, &mut buffer).await.unwrap();
            if n == 0 {
                break;
            }
            read_bytes.extend_from_slice(&buffer[..n]);
            if read_bytes.len() % 3 == 0 {
                assert_eq!(write(&source, b"!").await.unwrap(), 1);
            }
        }
    });
    writer.join().unwrap();
    assert_eq!(read_bytes, b"onetwo");
}

/// Also where a buffer takes half of what there is at a time.
#[test]
fn bytes_that_a_full_buffer_left_are_read_without_another_event() {
    let event_loop = EventLoop::new().unwrap();
    let (source, mut far) = pair();
    far.write_all(&[7; 100]).unwrap();
    event_loop.block_on(async {
        let mut count = 0;
        while count < 100 {
            count += read(&source, &mut [0; 10]).await.unwrap();
        }
    });
}

/// A read stops in front of the urgent byte and behind it, with more to come.
#[test]
fn urgent_data_does_not_hide_what_is_behind_it() {
    let event_loop = EventLoop::new().unwrap();
    let (source, mut far) = pair();
    event_loop.block_on(async {
        // Watched from here on.
        let waiting = Rc::new(source);
        let reader = Rc::clone(&waiting);
        let got = Rc::new(RefCell::new(Vec::new()));
        let all = Rc::clone(&got);
        let task = spawn(async move {
            let mut buffer = [0; 100];
            loop {
                match read(&reader, &mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => all.borrow_mut().extend_from_slice(&buffer[..n]),
                }
            }
        });
        sleep(Duration::from_millis(5)).await;
        far.write_all(b"before").unwrap();
        send(&far, b"!", SendFlags::OOB).unwrap();
        far.write_all(b"behind").unwrap();
        drop(far);
        task.await;
        assert_eq!(*got.borrow(), b"beforebehind");
    });
}

#[test]
fn a_write_waits_for_room_and_a_peer_that_has_left_is_an_error() {
    let event_loop = EventLoop::new().unwrap();
    let (source, mut far) = pair();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let mut count = 0;
        while count < 1 << 24 {
            count += far.read(&mut buffer).unwrap();
        }
    });
    event_loop.block_on(async {
        let bytes = vec![0; 1 << 24];
        let mut sent = 0;
        while sent < bytes.len() {
            sent += write(&source, &bytes[sent..]).await.unwrap();
        }
        // The far end is closed once all has come.
        poll_fn(|_| source.poll_known(FINISHED | BROKEN)).await.unwrap();
        let broken = async { while write(&source, b"more").await.is_ok() {} };
        broken.await;
    });
    reader.join().unwrap();
}

#[test]
fn connecting_ends_with_a_stream_or_with_its_error() {
    let event_loop = EventLoop::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    event_loop.block_on(async {
        let source = Source::connect(address, |_| Ok(())).await.unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert_eq!(write(&source, b"hello").await.unwrap(), 5);
        let mut buffer = [0; 5];
        far.read_exact(&mut buffer).unwrap();
        drop((far, listener));
        let error = Source::connect(address, |_| Ok(())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_listener_that_is_not_accepted_from_does_not_keep_the_loop_busy_and_loses_nobody() {
    let event_loop = EventLoop::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = ListeningSocket::from_std(listener).unwrap();
    event_loop.block_on(async {
        let clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut peers = Vec::new();
        peers.push(listener.accept().await.unwrap().1);
        let turns = event_loop.turns();
        sleep(Duration::from_millis(100)).await;
        assert!(event_loop.turns() - turns < 6, "{}", event_loop.turns() - turns);
        for _ in 1..5 {
            peers.push(listener.accept().await.unwrap().1);
        }
        let expected: Vec<SocketAddr> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        assert_eq!(peers, expected);
        assert!(futures_util::poll!(pin!(listener.accept())).is_pending());
        let late = TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept().await.unwrap().1, late.local_addr().unwrap());
        assert!(listener.accept_now().is_none());
    });
}

/// Short ones as well, beside long ones; a timer that is moved; and one that was dropped wakes nobody.
#[test]
fn deadlines_are_kept() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.block_on(async {
        for milliseconds in [0, 1, 3, 20, 150, 1100] {
            let (began, wanted) = (Instant::now(), Duration::from_millis(milliseconds));
            sleep(wanted).await;
            // Not how late it was, which depends on the machine.
            assert!(began.elapsed() >= wanted.saturating_sub(Duration::from_millis(1)), "{milliseconds}");
        }
        let mut timer = sleep(Duration::from_secs(1000));
        assert!(futures_util::poll!(&mut timer).is_pending());
        Pin::new(&mut timer).reset(Instant::now() + Duration::from_millis(2));
        timer.await;
    });
}

#[test]
fn another_thread_wakes_a_task_however_often() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.block_on(async {
        for round in 0..200 {
            let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
            let threads: Vec<_> =
                senders.into_iter().map(|sender| std::thread::spawn(move || sender.send(round).unwrap())).collect();
            for receiver in receivers {
                assert_eq!(cross_thread(receiver).await, Ok(round));
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
}

#[test]
fn a_signal_wakes_one_or_all() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.block_on(async {
        let (notify, woken) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let waiting = || {
            let (notify, woken) = (Rc::clone(&notify), Rc::clone(&woken));
            spawn(async move {
                notify.notified().await;
                woken.set(woken.get() + 1);
            })
        };
        // Beforehand, once, however often it was said.
        notify.notify_one();
        notify.notify_one();
        let first = waiting();
        first.await;
        let tasks = [waiting(), waiting(), waiting()];
        sleep(Duration::from_millis(1)).await;
        assert_eq!(woken.get(), 1);
        notify.notify_one();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(woken.get(), 2);
        let early = notify.notified();
        notify.notify_all();
        early.await;
        for task in tasks {
            task.await;
        }
        assert_eq!(woken.get(), 4);
        // Woken and given up: for the next one.
        let mut given_up = Box::pin(notify.notified());
        assert!(futures_util::poll!(&mut given_up).is_pending());
        notify.notify_one();
        drop(given_up);
        notify.notified().await;
        let mut none = Box::pin(notify.notified());
        assert!(futures_util::poll!(&mut none).is_pending());
    });
}

/// One that always has something to do leaves the others their turn.
#[test]
fn no_task_keeps_the_others_waiting() {
    let event_loop = EventLoop::new().unwrap();
    let (source, far) = pair();
    let writer = std::thread::spawn(move || {
        let mut far = far;
        while far.write_all(&[0; 4096]).is_ok() {}
    });
    event_loop.block_on(async {
        let reads = Rc::new(Cell::new(0_u32));
        let counted = Rc::clone(&reads);
        spawn(async move {
            while let Ok(1..) = read(&source, &mut [0; 16]).await {
                counted.set(counted.get() + 1);
            }
        });
        let mut before = 0;
        for _ in 0..50 {
            while reads.get() == before {
                poll_fn(|cx| {
                    if reads.get() == before {
                        yield_now(cx);
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                })
                .await;
            }
            assert!(reads.get() - before <= 2 * 64, "{}", reads.get() - before);
            before = reads.get();
        }
    });
    drop(event_loop);
    writer.join().unwrap();
}

/// What a hidden wake-up would be: it fails here instead of hanging in production.
#[cfg(debug_assertions)]
#[test]
fn an_await_that_the_loop_does_not_know_is_found() {
    let event_loop = EventLoop::new().unwrap();
    let ran_on = Rc::new(Cell::new(false));
    event_loop.block_on(async {
        let (_sender, receiver) = oneshot::channel::<()>();
        let after = Rc::clone(&ran_on);
        let task = spawn(async move {
            let _ = receiver.await;
            after.set(true);
        });
        task.await;
    });
    assert!(!ran_on.get());
}
