// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel is being left, by luod or by others.

use super::{Action, Generation, Machine, Method, Reason, Step, Time};

impl Machine {
    /// The answer to [`Action::Leave`], which there is only if the kernel could not be left.
    pub fn not_left(&mut self, generation: Generation, why: String) {
        if self.is_in(generation, Step::Committing) {
            self.abort(Reason::NotLeft(why));
        }
    }

    /// The service manager leaves the kernel, and takes as long as the services that it stops. Only
    /// [`Machine::not_begun`] calls the update off from now on.
    pub fn is_being_left(&mut self, generation: Generation) {
        if self.is_in(generation, Step::Committing)
            && let Some(update) = &mut self.update
        {
            update.until = Time::NEVER;
        }
    }

    /// Others leave the kernel meanwhile, and wait until this time at most: an update that is being prepared goes
    /// on without those who are not ready then.
    pub fn overtaken(&mut self, until: Time) {
        if let Some(update) = self.update.as_mut().filter(|it| it.step != Step::Committing) {
            update.order.method = Method::Elsewhere;
            update.until = update.until.min(until);
            update.last_call = update.last_call.min(until);
            self.actions.push_back(Action::Changed);
        }
    }

    /// The update is off after all, in whatever step it is: the kernel is not left.
    pub fn not_begun(&mut self, why: &str) {
        self.abort(Reason::NotLeft(why.to_owned()));
    }
}
