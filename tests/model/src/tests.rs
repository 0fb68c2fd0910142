use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use super::channel::Channel;
use super::context;
use super::cross_thread::cross_thread;
use super::inbox::Inbox;
use super::tasks::TaskId;

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The turns of the loop, as the executor takes them: tasks, epoll, inbox. `is_busy`: at first other tasks are ready as well, so
/// it does not sleep.
fn run(tasks: Vec<Work>, mut is_busy: bool) {
    let inbox = std::sync::Arc::new(Inbox::new().unwrap());
    let mut tasks: Vec<Option<Work>> = tasks.into_iter().map(Some).collect();
    let mut ready: Vec<TaskId> = (0..tasks.len()).map(TaskId).collect();
    loop {
        for id in ready.drain(..) {
            let Some(work) = &mut tasks[id.0] else { continue };
            let polled = context::polling(&inbox, id, || work.as_mut().poll(&mut Context::from_waker(Waker::noop())));
            if polled == Poll::Ready(()) {
                tasks[id.0] = None;
            }
        }
        if tasks.iter().all(Option::is_none) {
            return;
        }
        if std::mem::take(&mut is_busy) {
            if !inbox.signal().poll() {
                continue;
            }
        } else {
            inbox.signal().wait();
        }
        ready.extend(inbox.take());
    }
}

/// Of three threads, in every order with at most three preemptions: loom's authors have found no defect that needs more.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn two_threads_wake_two_tasks() {
    check(|| {
        let channels = [Channel::new(), Channel::new()].map(Arc::new);
        let senders = channels.clone().map(|channel| thread::spawn(move || channel.send()));
        let tasks =
            channels.map(|channel| -> Work { Box::pin(async move { cross_thread(channel.received(1)).await }) });
        run(tasks.into(), false);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn a_task_is_woken_each_time() {
    for is_busy in [false, true] {
        check(move || {
            let channel = Arc::new(Channel::new());
            let senders = [(); 2].map(|()| {
                let channel = Arc::clone(&channel);
                thread::spawn(move || channel.send())
            });
            let task: Work = Box::pin(async move {
                cross_thread(channel.received(1)).await;
                cross_thread(channel.received(2)).await;
            });
            run(vec![task], is_busy);
            senders.into_iter().for_each(|sender| sender.join().unwrap());
        });
    }
}
