/** Answers what `answer` does, or throws what `late` makes when that takes longer; what comes later has nobody to hear of it. */
export const inTime = <T>(milliseconds: number, answer: Promise<T>, late: () => Error): Promise<T> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), milliseconds);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
